// SPDX-License-Identifier: GPL-2.0-only
// The page of a job: its attempts on a line, its steps, the end of its log.
import { hasPools, useFresh, useLogEnd, useReasons } from "./data.js";
import { SafeLink, seconds, State, Took } from "./states.js";
import { AttemptLines } from "./attempts.js";
import { Age, Moment, Row, Table } from "./ui/elements.js";
import { local, masterName, now } from "./ui/words.js";

const {
  createElement: h, Fragment, memo, useEffect, useLayoutEffect, useRef, useState,
} = window.React;

const Facts = ({ facts }) => h("dl", { className: "ll-facts" },
  facts.filter(([, value]) => value !== null && value !== "").map(([name, value]) =>
    h(Fragment, { key: name }, h("dt", null, name), h("dd", { className: "ll-text" }, value))));

const Properties = ({ properties }) => {
  const all = Object.entries(properties);
  return all.length > 0 && h("details", null,
    h("summary", null, "Properties"),
    h(Facts, { facts: all.map(([name, value]) =>
      [name, typeof value === "string" ? value : JSON.stringify(value)]) }));
};

const STEPS = ["Step", "State", "What", "Took", "Logs and links"];

const Links = ({ step }) => h(Fragment, null,
  step.logs.map((log) => h(Fragment, { key: log.id }, h("a", { href: local(log.url) }, log.name), " ")),
  step.links.map((link, at) => h(Fragment, { key: at }, h(SafeLink, link), " ")));

const Steps = ({ steps }) => h(Table, { caption: "Steps", columns: STEPS },
  steps.map((step) => h(Row, {
    key: step.number,
    columns: STEPS,
    head: step.name,
    cells: [step.result || step.started_at ? h(State, { of: { ...step, state: "running" } }) : "",
      step.text, h(Took, { from: seconds(step.started_at), to: seconds(step.finished_at) }),
      h(Links, { step })],
  })));

const HELD = "vm is held"; // the log of latent_libvirt that says how to look into a held VM

const logsOf = (attempt) => (attempt ? attempt.steps.flatMap((step) =>
  step.logs.map((log) => ({ ...log, step: step.name }))) : []);

/** The log that the attempt writes, or has written last. */
const lastLog = (attempt) => logsOf(attempt).filter((log) => log.name !== HELD).pop() || null;

const heldLog = (attempt) => logsOf(attempt).find((log) => log.name === HELD) || null;

const REMEMBERED = 3600; // seconds for which the page of VMs knows those that are gone

/** Whether the page of VMs knows an attempt's VM no more. One that was held may still be there. */
const isForgotten = (attempt) => {
  const end = seconds(attempt.finished_at);
  return Boolean(end) && now() - end > REMEMBERED && !heldLog(attempt);
};

/** The address of an attempt's VM on the page of VMs, or nothing where that knows it no more. */
const addressOf = (attempt) => {
  const end = seconds(attempt.finished_at);
  if (!hasPools() || isForgotten(attempt)) return null;
  if (attempt.vm_id) return `#/vms#vm-${encodeURIComponent(attempt.vm_id)}`;
  return end || !attempt.worker ? null : `#/vms?vm=${encodeURIComponent(attempt.worker)}`;
};

const Vm = ({ attempt }) => {
  const words = `${attempt.vm} on host ${attempt.host}`;
  const address = addressOf(attempt);
  if (address) return h("a", { href: address }, words);
  if (!hasPools() || !isForgotten(attempt)) return words;
  return `${words}. The page VMs shows a VM that is gone for an hour after its end, and that is over.`;
};

const Attempt = memo(({ attempt, builder }) => h("section", {
  "aria-label": `Attempt ${attempt.number}`, className: "ll-attempt",
},
h("h2", null, `Attempt ${attempt.number} `, h(State, { of: attempt })),
h(Facts, { facts: [
  ["Build", h(Fragment, null, h("a", {
    href: local(attempt.url),
  }, `${builder} #${attempt.build_number}`), `: ${attempt.text}`)],
  ["Master", masterName(attempt.master)],
  ["Worker", attempt.worker || ""],
  ["VM", attempt.vm && h(Vm, { attempt })],
  ["Label", attempt.label],
  ["Began", h(Moment, { at: seconds(attempt.started_at) })],
  ["Took", h(Took, { from: seconds(attempt.started_at), to: seconds(attempt.finished_at) })],
] }),
h(Steps, { steps: attempt.steps })));

/** Keeps the end of an element in sight, unless the reader has scrolled away from it. */
const useEndInSight = (content) => {
  const element = useRef(null);
  const isAtEnd = useRef(true);
  useLayoutEffect(() => {
    const shown = element.current;
    if (shown && isAtEnd.current) shown.scrollTop = shown.scrollHeight;
  }, [content]);
  const onScroll = ({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) => {
    isAtEnd.current = scrollTop + clientHeight >= scrollHeight - 5;
  };
  return { ref: element, onScroll };
};

const LogEnd = memo(({ log, title }) => {
  const { lines, count, trouble } = useLogEnd(log);
  const text = lines.join("\n");
  const end = useEndInSight(text);
  return h("section", { "aria-label": title },
    h("h2", null, title),
    h("p", null, h("a", { href: local(log.url) }, `${log.name} of ${log.step}`),
      trouble ? `: ${trouble}` : `, ${count} ${count === 1 ? "line" : "lines"}`),
    !trouble && h("pre", {
      className: "ll-text ll-log", tabIndex: 0, "aria-label": `${title}, text`,
      ...end,
    }, text));
}, (before, after) => before.log.id === after.log.id);

const UNTIL = / until (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC\./; // as its log says it

/** How long a VM is held at most, by the log that says it. It may have been released since. */
const HeldUntil = ({ log }) => {
  const [, day, time] = UNTIL.exec(useLogEnd(log).lines[0]) || [];
  if (!day) return null;
  const until = seconds(`${day}T${time}Z`);
  return h("p", null, until > now()
    ? h(Fragment, null, "It goes in ", h(Age, { until }), ", at ", h(Moment, { at: until }),
      ", unless somebody has released it before. The link shows what it is now.")
    : h(Fragment, null, "Its time was up at ", h(Moment, { at: until }), "."));
};

const Held = memo(({ attempt }) => {
  const log = heldLog(attempt);
  const links = attempt ? attempt.steps.flatMap((step) => step.links) : [];
  const link = links.find(({ name }) => name.startsWith(`${HELD}: `));
  return log && h(Fragment, null,
    h(LogEnd, { log, title: "Held VM" }),
    h(HeldUntil, { log }),
    link && h("p", null, h(SafeLink, link)));
});

/** Events that are about a job, or one of its builds. */
const topicsOf = (job) => !job ? [] : [`buildrequests/${job.build_request}/*`, "builds/*/*",
  ...job.attempts.slice(-1).map((attempt) => `builds/${attempt.build}/steps/*/*`),
  ...job.attempts.slice(-1).flatMap((attempt) =>
    attempt.steps.slice(-1).map((step) => `steps/${step.id}/logs/*/new`))];

export const JobPage = ({ uuid }) => {
  const address = `plugins/jobs/${encodeURIComponent(uuid)}`;
  const [topics, setTopics] = useState([]);
  const { found: job, trouble, silence, again } = useFresh(address, topics, (event) =>
    !event.k.startsWith("builds/") || event.k.includes("/steps/")
      || event.m.buildrequestid === job.build_request);
  const names = topicsOf(job).join(" ");
  useEffect(() => { if (names) setTopics(names.split(" ")); }, [names]);
  const isWaiting = job && ["accepted", "waiting"].includes(job.state);
  const reason = useReasons(isWaiting ? [job.build_request] : [])[job && job.build_request];
  useEffect(() => {
    if (!job || job.state !== "accepted") return undefined;
    const timer = setTimeout(again, 3000);
    return () => clearTimeout(timer);
  }, [job]);
  const messages = h("div", { role: "status" },
    trouble && h("p", { className: "alert alert-danger ll-text" }, trouble),
    silence && h("p", { className: "alert alert-warning" }, silence));
  if (!job) {
    return h("div", { className: "container ll-page" }, h("h1", null, "Job"), messages,
      !trouble && h("p", null, "Loading…"));
  }
  const last = job.attempts[job.attempts.length - 1];
  const log = lastLog(last);
  const [accepted, started, finished] = [
    seconds(job.accepted_at), seconds(job.started_at), seconds(job.finished_at)];
  return h("div", { className: "container ll-page" },
    h("h1", null, `${job.builder} `, h(State, { of: job })),
    messages,
    h("p", { className: "ll-what ll-text" }, (isWaiting && reason) || job.text),
    h(Facts, { facts: [
      ["Job", job.uuid],
      ["Reason", job.reason],
      ["Token", job.token],
      ["Priority", String(job.priority)],
      ["Accepted", h(Moment, { at: accepted })],
      ["Waited", h(Took, { from: accepted, to: started ?? finished })],
      ["Began", started && h(Moment, { at: started })],
      ["Ended", finished && h(Moment, { at: finished })],
      ["Took", started && h(Took, { from: started, to: finished })],
      ["Cancelled", job.cancelled_at && h(Fragment, null,
        h(Moment, { at: seconds(job.cancelled_at) }), ` by ${job.cancelled_by}`)],
    ] }),
    h(Properties, { properties: job.properties }),
    h(AttemptLines, { job }),
    log && h(LogEnd, { log, title: "The last lines" }),
    h(Held, { attempt: last }),
    [...job.attempts].reverse().map((attempt) =>
      h(Attempt, { key: attempt.number, attempt, builder: job.builder })),
    h("p", null, h("a", { href: "#/jobs" }, "All jobs")));
};
