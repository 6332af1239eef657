// SPDX-License-Identifier: GPL-2.0-only
// Actions: what the user may do to each pool, and the buttons for it.
import { PLUGIN } from "./pools.js";
import { bytes, duration, now } from "./ui/words.js";

const {
  createContext, createElement: h, useContext, useEffect, useId, useRef, useState,
} = window.React;

export const Rights = createContext({});
export const WithScreen = createContext(new Set());
export const Said = createContext(() => {});

/** Whether the user may do one of these to a pool. */
export const useMay = (pool, commands) => {
  const may = useContext(Rights)[pool] || [];
  return commands.some((command) => may.includes(command));
};

/** What the user may do to each pool; asked again when there are other pools. */
export const useRights = (pools) => {
  const [rights, setRights] = useState({});
  const ids = Object.keys(pools || {}).join(" ");
  useEffect(() => {
    let over = false;
    if (!ids) return undefined;
    fetch(`${PLUGIN}/rights`, { credentials: "same-origin" })
      .then((answer) => (answer.ok ? answer.json() : {}))
      .then((found) => { if (!over) setRights(found); }, () => {});
    return () => { over = true; };
  }, [ids]);
  return rights;
};

const asked = async (pool, request) => {
  const answer = await fetch(`${PLUGIN}/actions`, {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ pool, request }),
  });
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.error);
  return document.done;
};

const DONE = {
  drain: (what) => `${what} is drained: no new VM starts.`,
  undrain: (what) => `${what} is in use again.`,
  hold: (what) => what,
  cancel_hold: (what) => `${what} will not be held when its job has ended.`,
  release: (what) => `${what} is gone.`,
  thaw: (what) => what,
  cancel_thaw: (what) => `${what} stays frozen.`,
  end: (what) => `${what} is gone.`,
  refresh: (what) => `Looked at ${what}.`,
};

/** Times, the one first that latent-libvirt hold has by default; seconds. */
const TIMES = [["2 h", 7200], ["8 h", 28800], ["1 day", 86400], ["7 days", 604800], ["30 days", 2592000], ["15 min", 900]];

const holds = (options) => ({ member: "seconds", what: "How long to hold", options });

/** The hosts on which a frozen VM may continue: its own, to which nothing is copied, first. */
const hostsFor = (row) => ((row.hosts || []).some((host) => host !== row.host) ? {
  member: "host",
  what: "Host on which to thaw",
  options: row.hosts.map((host) => [host, host === row.host ? "" : host]),
} : undefined);

/** What people call a VM. */
const vmName = (row) =>
  `VM ${row.domain}@${row.host}${row.worker ? ` (worker ${row.worker})` : ""}`;

const LOST = "What is on its disk and in its memory is lost, unless you have copied it. ";

/** What becomes of a build if its VM is ended. */
const lostWith = (row) => {
  if (row.job) {
    return `What its build ${row.job.builder} #${row.job.number} has done is lost, `
      + "and the build starts again in another VM. ";
  }
  const isStarting = row.worker && !["idle", "tear-down"].includes(row.phase);
  return isStarting ? "A build that waits for it starts again in another VM. "
    : "It has no build that would be lost. ";
};

const going = (count) => (count === 1 ? "The VM that it has goes on. "
  : count ? `The ${count} VMs that it has go on. ` : "");

/** Whether a question is open; what has taken the place of the focused element has the focus. */
const useQuestion = () => {
  const [isOpen, setOpen] = useState(false);
  const place = useRef(null);
  const isToggled = useRef(false);
  useEffect(() => {
    if (isToggled.current && place.current) place.current.focus();
    isToggled.current = false;
  }, [isOpen]);
  const toggle = (value) => {
    isToggled.current = value !== isOpen;
    setOpen(value);
  };
  return { isOpen, toggle, place };
};

/**
 * A button, if the user may do that. With a question, a second one does it.
 * The name of the thing is part of what a screen reader says.
 *
 * @param right     the action that the user needs a right for.
 * @param question  text, or a function that returns it for what is chosen.
 * @param choices   what the request has more: its member, what that is, and texts with their values.
 */
const Act = ({ pool, command, right = command, text, of, request, question, choices }) => {
  const rights = useContext(Rights);
  const say = useContext(Said);
  const { isOpen, toggle, place } = useQuestion();
  const asks = useId();
  const [isBusy, setBusy] = useState(false);
  const [chosen, setChoice] = useState(null);
  const values = choices ? choices.options.map(([, value]) => value) : [];
  const choice = values.includes(chosen) ? chosen : values[0];
  useEffect(() => { toggle(false); }, [command]); // the question was about another one
  if (!(rights[pool] || []).includes(right)) return null;
  const act = () => {
    setBusy(true);
    toggle(false);
    const more = choices && choice !== "" ? { [choices.member]: choice } : {};
    asked(pool, { command, ...request, ...more })
      .then((what) => say(DONE[command](what)), (error) => say(error.message, true))
      .finally(() => setBusy(false));
  };
  // A button that is disabled would lose the focus.
  const button = (words, onClick, ref) => h("button", {
    type: "button", className: "btn btn-outline-secondary btn-sm ll-act", ref,
    "aria-disabled": isBusy, "aria-label": `${words} ${of}`,
    onClick: () => { if (!isBusy) onClick(); },
  }, words);
  if (!isOpen) return button(text, question || choices ? () => toggle(true) : act, place);
  return h("span", {
    className: "ll-asks", role: "group", "aria-label": `${text} ${of}`, tabIndex: -1, ref: place,
    "aria-describedby": question ? asks : undefined,
  },
  question && h("span", { id: asks }, typeof question === "function" ? question(choice) : question),
  choices && h("select", {
    "aria-label": `${choices.what} ${of}`, value: values.indexOf(choice),
    onChange: (event) => setChoice(values[event.target.value]),
  }, choices.options.map(([name], at) => h("option", { key: name, value: at }, name))),
  button(text, act), button("Cancel", () => toggle(false)));
};

export const Drain = ({ pool, kind, row }) => h(Act, {
  pool, command: row.drained ? "undrain" : "drain", text: row.drained ? "Undrain" : "Drain",
  of: `${kind} ${row.name}`, request: { name: row.name, kind },
  question: row.drained ? undefined
    : `Start no new VM ${kind === "host" ? "on" : "of"} ${kind} ${row.name}? ${going(row.used)}`,
});

export const Refresh = ({ pool, name }) => h(Act, {
  pool, command: "refresh", text: "Refresh", of: `pool ${name}`, request: {},
});

/** What a held or frozen VM is called apart from others, which may have been the same worker. */
const keptName = (row) => `${row.worker || row.domain}, id ${row.vm_id}`;

const nameOf = (row, isHeld) => (isHeld ? keptName(row) : row.worker || row.domain);

/** A link to a terminal in a VM, if the user may have one. */
export const Terminal = ({ pool, row, isHeld }) => {
  const rights = useContext(Rights);
  if (!(rights[pool] || []).includes("terminal")) return null;
  const query = new URLSearchParams({ pool, vm: row.vm_id });
  return h("a", {
    href: `#/vms/terminal?${query}`, "aria-label": `Terminal of ${nameOf(row, isHeld)}`,
  }, "Terminal");
};

/** A link to the screen of a VM of a label that has one, if the user may see it. */
export const Screen = ({ pool, row, isHeld }) => {
  const rights = useContext(Rights);
  const labels = useContext(WithScreen);
  if (!(rights[pool] || []).includes("screen") || !labels.has(`${pool} ${row.label}`)) return null;
  const query = new URLSearchParams({ pool, vm: row.vm_id });
  return h("a", {
    href: `#/vms/screen?${query}`, "aria-label": `Screen of ${nameOf(row, isHeld)}`,
  }, "Screen");
};

/** Whether a VM that has a build will be held after it, and that can be taken back. */
export const isToBeHeld = (row) => typeof row.hold_for === "number" && row.phase !== "tear-down";

export const askedBy = (row) => (row.hold_asked_by ? `, asked for by ${row.hold_asked_by}` : "");

const takingBack = ({ pool, row }) => h(Act, {
  pool, command: "cancel_hold", right: "hold", text: "Do not hold", of: row.worker,
  request: { name: row.vm_id },
  question: `Take back that ${vmName(row)} will be held for ${duration(row.hold_for)}${askedBy(row)}?`
    + " It is deleted after its build then, unless the build fails and its label holds such VMs. ",
});

/** The button that holds it, or the one that takes that back. One keeps the other's focus. */
export const Hold = ({ pool, row }) => (isToBeHeld(row) ? takingBack({ pool, row }) : h(Act, {
  pool, command: "hold", text: "Hold", of: row.worker, request: { name: row.vm_id },
  question: `Hold ${vmName(row)} when its build has ended? It keeps its slot and memory for `,
  choices: holds(TIMES),
}));

/** The times for which a held VM is held longer than it would be; some are over while one chooses. */
const longerFor = (row) => TIMES.filter(([, time]) => time > row.until - now());

/** The button that holds a held VM for longer, if it is not held for the longest time already. */
export const HoldLonger = ({ pool, row }) => longerFor(row).length > 0 && h(Act, {
  pool, command: "hold", text: "Hold longer", of: keptName(row), request: { name: row.vm_id },
  question: `Hold ${vmName(row)}, id ${row.vm_id}, from now on for `,
  choices: holds(longerFor(row)),
});

/** The button of a VM that others may have all names of but its id. */
export const Release = ({ pool, row }) => h(Act, {
  pool, command: "release", text: "Release", of: keptName(row), request: { name: row.vm_id },
  question: `Delete ${vmName(row)}, id ${row.vm_id}? ${LOST}`,
});

/** When a frozen VM continues on a host, or on its own. */
const before = (row, host) => {
  if (host) return `Its ${bytes(row.size)} are copied to host ${host} first. Then it`;
  return row.would_wait_for ? `It waits first, since ${row.would_wait_for}. Then it` : "It";
};

/** Where a frozen VM continues, when, and for how long. */
const thawing = (row, host) => `${before(row, host)} continues in slot ${row.slot} of host `
  + `${host || row.host}, takes that slot and its memory, `
  + `and is held until ${new Date(row.until * 1000).toLocaleString()}. `;

/** The button that thaws a VM, or the one that lets it stay frozen if it waits for that. */
export const Thaw = ({ pool, row }) => (row.is_waiting ? h(Act, {
  pool, command: "cancel_thaw", right: "thaw", text: "Do not thaw", of: keptName(row),
  request: { name: row.vm_id },
  question: `Let ${vmName(row)}, id ${row.vm_id}, stay frozen? It waits to be thawed: ${row.waits_for}. `,
}) : h(Act, {
  pool, command: "thaw", text: "Thaw", of: keptName(row), request: { name: row.vm_id },
  choices: hostsFor(row),
  question: (host) => `Thaw ${vmName(row)}, id ${row.vm_id}? ${thawing(row, host)}`,
}));

export const End = ({ pool, row }) => h(Act, {
  pool, command: "end", text: "End", of: row.worker || row.domain,
  request: { name: row.vm_id },
  question: `Delete ${vmName(row)} now? ${lostWith(row)}`,
});

/** What came of an action. It stays in sight, and may cover the row below, until somebody closes it. */
export const Outcome = ({ said, close }) => h("p", {
  className: `alert alert-${said.isBad ? "danger" : "success"} ll-text`,
}, said.text, " ", h("button", {
  type: "button", className: "btn btn-outline-secondary btn-sm ll-act", onClick: close,
}, "Close"));
