// SPDX-License-Identifier: GPL-2.0-only
// The page "Jobs": a list with filters, which are in the address.
import { useFresh, useReasons } from "./data.js";
import { seconds, State, Took } from "./states.js";
import { Moment, Row, Table } from "./ui/elements.js";
import { masterName } from "./ui/words.js";

const { createElement: h, memo, useEffect, useState } = window.React;
const { useSearchParams } = window.ReactRouterDOM;

const STATES = ["unfinished", "waiting", "running", "finished"];
const RESULTS = ["success", "warnings", "failure", "skipped", "exception", "cancelled"];
const STEP = 50; // jobs
const MOST = 500;

/** Filters: name, what it is called, what may be chosen or an example of what may be written. */
const FILTERS = [
  ["state", "State", STATES],
  ["result", "Result", RESULTS],
  ["builder", "Builder", ""],
  ["token", "Token", ""],
  ["property", "Property", "NAME=VALUE"],
  ["since", "Accepted since", null],
];

const Filter = ({ name, caption, kind, value, set }) => {
  const common = {
    id: `ll-filter-${name}`, name, value, className: "form-control form-control-sm",
    onChange: (event) => set(name, event.target.value),
  };
  const choices = Array.isArray(kind)
    && h("select", common, ["", ...kind].map((each) =>
      h("option", { key: each, value: each }, each || "any")));
  const input = kind === null ? { type: "datetime-local" } : { type: "search", placeholder: kind };
  return h("div", { className: "ll-filter" },
    h("label", { htmlFor: common.id }, caption),
    choices || h("input", { ...common, ...input, maxLength: 256 }));
};

/** A moment in the reader's zone as an input has it. */
const written = (time) => {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};

const asInput = (name, value) => (name === "since" && value ? written(value) : value);
const asFilter = (name, value) => (name === "since" && value ? new Date(value).toISOString() : value);

/** Filters as they are written; those that are chosen count at once, texts when Enter is pressed. */
const Filters = ({ params, setParams }) => {
  const given = Object.fromEntries(FILTERS.map(([name]) =>
    [name, asInput(name, params.get(name) || "")]));
  const [typed, setTyped] = useState({});
  const shown = { ...given, ...typed };
  const apply = (values) => {
    const filled = Object.entries(values).filter(([, value]) => value.trim());
    setTyped({});
    setParams(Object.fromEntries(filled.map(([name, value]) => [name, asFilter(name, value)])));
  };
  const set = (name, value) => {
    const isChoice = FILTERS.some(([each, , kind]) => each === name && Array.isArray(kind));
    if (isChoice) apply({ ...shown, [name]: value });
    else setTyped({ ...typed, [name]: value });
  };
  return h("form", {
    className: "ll-filters", role: "search", "aria-label": "Jobs",
    onSubmit: (event) => { event.preventDefault(); apply(shown); },
  },
  FILTERS.map(([name, caption, kind]) =>
    h(Filter, { key: name, name, caption, kind, value: shown[name], set })),
  h("button", { type: "submit", className: "btn btn-outline-secondary btn-sm ll-act" }, "Search"),
  h("button", {
    type: "button", className: "btn btn-outline-secondary btn-sm ll-act", onClick: () => apply({}),
  }, "All jobs"));
};

const COLUMNS = ["Job", "State", "What", "Accepted", "Waited", "Took", "Attempts", "Master", "Token"];

const JobRow = memo(({ job, reason }) => {
  const [accepted, started, finished] = [
    seconds(job.accepted_at), seconds(job.started_at), seconds(job.finished_at)];
  return h(Row, {
    columns: COLUMNS,
    head: h("a", { href: `#/jobs/${job.uuid}` }, `${job.builder} ${job.uuid.slice(0, 8)}`),
    cells: [h(State, { of: job }), reason || job.text, h(Moment, { at: accepted }),
      h(Took, { from: accepted, to: started ?? finished }),
      h(Took, { from: started, to: finished }),
      job.tries, job.master ? masterName(job.master) : "", job.token],
  });
});

const isWaiting = (job) => ["accepted", "waiting"].includes(job.state);

const CHANGES = ["buildrequests/*/*", "builds/*/*"];

/** Whether an event may change the list: it is of one of its jobs, or of a new one. */
const isAbout = (event, jobs) => {
  const request = event.m.buildrequestid;
  return event.k.endsWith("/new") || jobs.some((job) => job.build_request === request);
};

export const ListPage = () => {
  const [params, setParams] = useSearchParams();
  const [limit, setLimit] = useState(STEP);
  const query = new URLSearchParams(params);
  if (!query.has("limit")) query.set("limit", limit);
  const { found, trouble, silence, again } = useFresh(`plugins/jobs?${query}`, CHANGES,
    (event) => isAbout(event, (found && found.jobs) || []));
  const jobs = (found && found.jobs) || [];
  const reasons = useReasons(jobs.filter(isWaiting).map((job) => job.build_request));
  return h("div", { className: "container ll-page" },
    h("h1", null, "Jobs"),
    h(Filters, { params, setParams }),
    h("div", { role: "status" },
      trouble && h("p", { className: "alert alert-danger ll-text" }, trouble),
      silence && h("p", { className: "alert alert-warning" }, silence)),
    !found && !trouble && h("p", null, "Loading…"),
    found && !trouble && !jobs.length && h("p", null, "No job."),
    jobs.length > 0 && h(Table, { caption: "The newest first", columns: COLUMNS },
      jobs.map((job) => h(JobRow, { key: job.uuid, job, reason: reasons[job.build_request] }))),
    h(Settles, { jobs, again }),
    found && found.next && (limit < MOST
      ? h("button", {
        type: "button", className: "btn btn-outline-secondary btn-sm ll-act",
        onClick: () => setLimit(Math.min(MOST, limit + STEP)),
      }, "Older jobs")
      : h("p", null, `Only ${MOST} jobs are listed. Filters find older ones.`)));
};

/** A job that is accepted waits some seconds later, which is no event. */
const Settles = ({ jobs, again }) => {
  const isNew = jobs.some((job) => job.state === "accepted");
  useEffect(() => {
    if (!isNew) return undefined;
    const timer = setTimeout(again, 3000);
    return () => clearTimeout(timer);
  }, [isNew, jobs]);
  return null;
};
