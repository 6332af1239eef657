// SPDX-License-Identifier: GPL-2.0-only
// Tables of a pool: hosts, labels, requests that wait, VMs, failures.
import {
  askedBy, Drain, End, Hold, HoldLonger, isToBeHeld, Release, Screen, Terminal, Thaw, useMay,
} from "./actions.js";
import { Age, Build, Moment, Row, Words } from "./ui/elements.js";
import { LongTable } from "./ui/long.js";
import { bytes, duration } from "./ui/words.js";

const { createElement: h, Fragment, memo } = window.React;

const GIB = 2 ** 30;

const used = (usage) => (usage ? `${usage.used} of ${usage.most}` : "");
const gib = (count) => Number((count / GIB).toFixed(2));
const inGib = (usage) => (usage ? `${gib(usage.used)} of ${gib(usage.most)} GiB` : "");
const counted = (count, one, more) => `${count} ${count === 1 ? one : more}`;

const toGo = (count) => (count ? `drained, ${count} to go` : "drained");

const isFull = (host) => host.used >= host.slots
  || [host.vcpus, host.memory].some((usage) => usage && usage.used >= usage.most);

const hostState = (host) => {
  const words = host.usable ? [] : [["bad", `not usable: ${host.trouble}`]];
  if (host.drained) words.push(["odd", toGo(host.used)]);
  if (host.blocked.length) words.push(["odd", `slots held by others: ${host.blocked.join(", ")}`]);
  for (const squatter of host.squatters) words.push(["odd", squatter]);
  if (!words.length && isFull(host)) words.push(["plain", "full"]);
  if (host.starting) words.push(["plain", `${host.starting} starting`]);
  if (!words.length) words.push(["good", "ready"]);
  if (host.shared) words.push(["plain", "shared with another owner"]);
  return words;
};

const labelState = (label, takers) => {
  if (label.drained) return [["odd", toGo(label.used)]];
  const unfit = [...label.unfit, label.image].filter(Boolean).map((text) => ["odd", text]);
  if (!label.hosts.some((host) => takers.has(host))) {
    return [["bad", "no host takes VMs"], ...unfit];
  }
  if (label.used >= label.max_vms) return [["plain", "full"], ...unfit];
  return unfit.length ? unfit : [["good", "ready"]];
};

const textsOf = (words) => words.map(([, text]) => text);

export const ordered = (rows) => Object.values(rows).sort((a, b) => a.at - b.at);
const oldestFirst = (rows) => Object.values(rows).sort((a, b) => a.since - b.since);

/** The last column of a table has the buttons and links of each row, for users who may have one. */
const ACTIONS = "Actions";
const withActions = (columns, mayAct) => (mayAct ? [...columns, ACTIONS] : columns);
const Acts = ({ children }) => h("span", { className: "ll-acts" }, children);

export const savedText = (host) => {
  const slots = new Set(host.saved.map((state) => state.slot)).size;
  return slots ? `${counted(slots, "slot", "slots")}, ${inGib(host.saved_state_space)}` : "";
};

/** How many VMs run there, what they have of its memory, and what the whole host saves by KSM. */
export const densityText = ({ density }) => {
  if (!density || !density.vms) return "";
  const shared = density.shared ? `, the host saves ${bytes(density.shared)} by KSM` : "";
  return `${counted(density.vms, "VM uses", "VMs use")} ${inGib(density)}${shared}`;
};

/** The columns of hosts, each with its text and what it means. */
const HOST_COLUMNS = [
  ["VMs", (host) => host.used, "VMs of this pool that are there, or about to start"],
  ["Slots", (host) => host.slots, "VMs that the host may run at a time"],
  ["vCPUs", (host) => used(host.vcpus), "vCPUs that the VMs of this pool have, of the budget"],
  ["Memory", (host) => inGib(host.memory),
    "Memory that the VMs of this pool may use at most, of the budget"],
  ["Saved states", savedText,
    "Slots in which a VM can be resumed, and the space of their saved states, of the budget"],
  ["Memory in use", densityText, "VMs of all owners that run on the host, and what they have of its "
    + "memory. What the host saves by keeping equal pages once (KSM) is of all its programs"],
  ["State", (host) => h(Words, { words: hostState(host) })],
];
const HOST_HINTS = Object.fromEntries(HOST_COLUMNS.map(([name, , hint]) => [name, hint]));

export const Hosts = memo(({ hosts, pool }) => {
  const mayAct = useMay(pool, ["drain", "undrain"]);
  const all = ordered(hosts);
  const told = HOST_COLUMNS.filter(([, text]) => all.some((host) => text(host) !== ""));
  const columns = withActions(["Host", ...told.map(([name]) => name)], mayAct);
  return h(LongTable, {
    caption: "Hosts",
    columns,
    hints: HOST_HINTS,
    rows: all,
    texts: (host) => [host.name, ...textsOf(hostState(host))],
    row: (host) => h(Row, {
      key: host.name, columns, head: host.name, cells: [...told.map(([, text]) => text(host)),
        ...(mayAct ? [h(Acts, null, h(Drain, { pool, kind: "host", row: host }))] : [])],
    }),
  });
});

const LABELS = ["Label", "VMs", "Max", "Spares", "Waiting", "For", "State"];
const LABEL_HINTS = {
  VMs: "VMs of the label that are there, or about to start",
  Max: "VMs of the label that there may be at a time",
  Waiting: "Build requests that wait for a VM of the label",
  For: "Time for which the oldest of them has waited",
};

const countsByLabel = (vms) => {
  const counts = new Map();
  for (const { label } of Object.values(vms)) counts.set(label, (counts.get(label) || 0) + 1);
  return counts;
};

export const Labels = memo(({ labels, hosts, queues, spares, facts, pool }) => {
  const takers = new Set(Object.values(hosts).filter((host) => host.usable && !host.drained)
    .map((host) => host.name));
  const ready = countsByLabel(spares);
  const waiting = (queue) => (facts.queues_known ? (queue ? queue.requests : 0) : "?");
  const mayAct = useMay(pool, ["drain", "undrain"]);
  const columns = withActions(LABELS, mayAct);
  return h(LongTable, {
    caption: "Labels",
    columns,
    hints: LABEL_HINTS,
    rows: ordered(labels),
    texts: (label) => [label.name, ...textsOf(labelState(label, takers))],
    row: (label) => {
      const queue = queues[label.name];
      return h(Row, {
        key: label.name,
        columns,
        head: label.name,
        cells: [label.used, label.max_vms, ready.get(label.name) || 0, waiting(queue),
          queue && queue.requests ? h(Age, { since: queue.oldest_since }) : "",
          h(Words, { words: labelState(label, takers) }),
          ...(mayAct ? [h(Acts, null, h(Drain, { pool, kind: "label", row: label }))] : [])],
      });
    },
  });
});

export const OtherQueues = memo(({ labels, queues }) => Object.values(queues)
  .filter((queue) => !(queue.label in labels) && queue.requests)
  .map((queue) => h("p", { key: queue.label },
    `Also waiting, for label ${queue.label || "(several, or by the properties of each job)"}: `
    + `${queue.requests}, the oldest for `, h(Age, { since: queue.oldest_since }), ".")));

const WAITING = ["Request", "Builder", "Priority", "For", "Because"];

const WaitingRow = memo(({ row }) => h(Row, {
  columns: WAITING,
  head: h("a", { href: `#/buildrequests/${row.request}` }, row.request),
  cells: [row.builder, row.priority, h(Age, { since: row.since }), row.reason],
}));

export const Waiting = memo(({ waiting }) => h(LongTable, {
  caption: "Waiting requests",
  columns: WAITING,
  rows: Object.values(waiting).sort((a, b) => b.priority - a.priority || a.request - b.request),
  texts: (row) => [row.request, row.builder, row.priority, row.reason],
  row: (row) => h(WaitingRow, { key: row.request, row }),
}));

/** What becomes of a VM after its build, if somebody has asked for more than its end. */
const holdText = (row) =>
  (isToBeHeld(row) ? `will be held for ${duration(row.hold_for)}${askedBy(row)}` : "");

/** What the filter of a table of VMs looks at. */
const vmTexts = (row) => [
  ...[row.worker, row.label, row.host, row.domain, row.vm_id, row.phase, row.failure, row.trouble],
  row.pause, row.job && `${row.job.builder} #${row.job.number}`, holdText(row),
].filter(Boolean);

const isCalled = (name) => (row) => Boolean(name) && [row.vm_id, row.worker].includes(name);

const VMS = ["Worker", "Label", "Host", "Domain", "Phase", "For", "Age", "Build"];
const VM_HINTS = {
  By: "How the worker comes to its master: by TCP, or by a channel without a network",
  Fetched: "Requests of the build to the forward proxy that were answered, of all",
};

const fetchedWords = (row) => (typeof row.requests === "number"
  ? [[row.refused ? "odd" : "plain", `${row.requests - row.refused} of ${row.requests}`]] : []);

/** Columns that only some pools need, as `latent-libvirt status` shows them. */
const MORE_OF_VMS = {
  By: { cell: (row) => row.connection, isNeeded: (row) => row.connection === "channel" },
  Fetched: {
    cell: (row) => h(Words, { words: fetchedWords(row) }),
    isNeeded: (row) => typeof row.requests === "number",
  },
};

/** The names of those that these VMs need, in one text, so that rows stay as they are. */
const moreOf = (vms) => {
  const rows = Object.values(vms);
  return Object.keys(MORE_OF_VMS)
    .filter((name) => rows.some(MORE_OF_VMS[name].isNeeded)).join(" ");
};

const namesIn = (more) => more.split(" ").filter(Boolean);

/** The columns of VMs, with more of them after the domain. */
const vmColumns = (more) => [...VMS.slice(0, 4), ...namesIn(more), ...VMS.slice(4)];

/** Its build, or why it has none, and what becomes of the VM then. */
const BuildAndHold = ({ row }) => h(Fragment, null,
  row.failure ? h(Words, { words: [["bad", row.failure]] }) : h(Build, { job: row.job }),
  row.pause && !row.failure
    && h(Fragment, null, "; ", h(Words, { words: [["bad", `paused: ${row.pause}`]] })),
  isToBeHeld(row) && h(Fragment, null, "; ", h(Words, { words: [["odd", holdText(row)]] })));

const VmRow = memo(({ row, isMarked, pool, mayAct, more }) => h(Row, {
  columns: withActions(vmColumns(more), mayAct),
  id: `vm-${row.vm_id}`,
  isMarked,
  head: row.worker,
  cells: [row.label, row.host, row.domain, ...namesIn(more).map((each) => MORE_OF_VMS[each].cell(row)),
    row.phase, h(Age, { since: row.phase_since }), h(Age, { since: row.since }), h(BuildAndHold, { row }),
    ...(mayAct ? [h(Acts, null, h(Terminal, { pool, row }), h(Screen, { pool, row }),
      h(Hold, { pool, row }), h(End, { pool, row }))] : [])],
}));

export const Vms = memo(({ vms, marked, pool }) => {
  const mayAct = useMay(pool, ["terminal", "screen", "hold", "end"]);
  const more = moreOf(vms);
  return h(LongTable, {
    caption: "VMs with a worker",
    columns: withActions(vmColumns(more), mayAct),
    hints: VM_HINTS,
    rows: oldestFirst(vms),
    texts: vmTexts,
    marked,
    isMarked: isCalled(marked),
    row: (row) => h(VmRow, {
      key: row.vm_id, row, pool, mayAct, more, isMarked: isCalled(marked)(row),
    }),
  });
});

const IDLE = ["Label", "Host", "Domain", "Phase", "Age"];

export const Idle = memo(({ caption, vms, marked, pool }) => {
  const mayAct = useMay(pool, ["end"]);
  const columns = withActions(IDLE, mayAct);
  return h(LongTable, {
    caption,
    columns,
    rows: oldestFirst(vms),
    texts: vmTexts,
    marked,
    isMarked: isCalled(marked),
    row: (row) => h(Row, {
      key: row.vm_id,
      columns,
      id: `vm-${row.vm_id}`,
      isMarked: isCalled(marked)(row),
      head: row.label,
      cells: [row.host, row.domain, row.phase, h(Age, { since: row.since }),
        ...(mayAct ? [h(Acts, null, h(End, { pool, row }))] : [])],
    }),
  });
});

/** How long it stays, and until when that is. */
const Left = ({ until }) => h(Fragment, null,
  h(Age, { until }), ", until ", h(Moment, { at: until }));

const HELD = ["Worker", "Label", "Host", "Domain", "Left", "Build"];

/** VMs that are kept after their builds, the first to go first. */
const Kept = ({ caption, columns, vms, marked, cells }) => h(LongTable, {
  caption,
  columns,
  rows: Object.values(vms).sort((a, b) => a.until - b.until),
  texts: vmTexts,
  marked,
  isMarked: isCalled(marked),
  row: (row) => h(Row, {
    key: row.vm_id,
    columns,
    id: `vm-${row.vm_id}`,
    isMarked: isCalled(marked)(row),
    head: row.worker || "(unknown)",
    cells: cells(row),
  }),
});

export const Held = memo(({ held, marked, pool }) => {
  const mayAct = useMay(pool, ["terminal", "screen", "hold", "release"]);
  return h(Kept, {
    caption: "Held VMs",
    columns: withActions(HELD, mayAct),
    vms: held,
    marked,
    cells: (row) => [row.label, row.host, row.domain, h(Left, { until: row.until }),
      h(Build, { job: row.job }),
      ...(mayAct ? [h(Acts, null, h(Terminal, { pool, row, isHeld: true }),
        h(Screen, { pool, row, isHeld: true }), h(HoldLonger, { pool, row }),
        h(Release, { pool, row }))] : [])],
  });
});

const FROZEN = [
  "Worker", "Label", "Host", "Domain", "Size", "Age", "Left", "Build", "Id", "Thaw it by"];

const frozenState = (row) => {
  const why = row.trouble || row.given_up;
  if (why) return h(Words, { words: [["odd", why]] });
  if (row.is_waiting) return `waits to be thawed: ${row.waits_for}`;
  if (row.target) return `goes to host ${row.target}`;
  return h("code", null, `latent-libvirt thaw ${row.vm_id}`);
};

/** Whether it can be thawed, or waits for that. One that is copied to another host is neither. */
const canThaw = (row) => !row.trouble && (row.is_waiting || !row.target);

export const Frozen = memo(({ frozen, marked, pool }) => {
  const mayAct = useMay(pool, ["release", "thaw"]);
  return h(Kept, {
    caption: "Frozen VMs",
    columns: withActions(FROZEN, mayAct),
    vms: frozen,
    marked,
    cells: (row) => [row.label, row.host, row.domain, bytes(row.size),
      h(Age, { since: row.since }), h(Left, { until: row.until }), h(Build, { job: row.job }),
      row.vm_id, frozenState(row),
      ...(mayAct ? [h(Acts, null, canThaw(row) && h(Thaw, { pool, row }),
        !row.trouble && h(Release, { pool, row }))] : [])],
  });
});

const FAILURES = ["When", "Host", "Label", "Worker", "Build", "Reason"];
const Reason = ({ row }) => h(Fragment, null, row.reason, row.details && h("details", null,
  h("summary", null, "More, and the end of its console"),
  h("pre", { className: "ll-text", tabIndex: 0 }, row.details)));

const FailureTable = ({ caption, failures }) => failures.length > 0 && h(LongTable, {
  caption,
  columns: FAILURES,
  rows: failures.sort(([, a], [, b]) => b.when - a.when),
  texts: ([, row]) => [row.host, row.label, row.worker, row.reason, row.details,
    row.job && `${row.job.builder} #${row.job.number}`].filter(Boolean),
  row: ([key, row]) => h(Row, {
    key,
    columns: FAILURES,
    head: h(Moment, { at: row.when }),
    cells: [row.host, row.label, row.worker, h(Build, { job: row.job }), h(Reason, { row })],
  }),
});

/** VMs that have failed, and apart from them those that operators have ended. */
export const Failures = memo(({ failures }) => {
  const all = Object.entries(failures);
  return h(Fragment, null,
    h(FailureTable, { caption: "Last failures",
      failures: all.filter(([, row]) => !row.is_ended_by_operator) }),
    h(FailureTable, { caption: "Ended by operators",
      failures: all.filter(([, row]) => row.is_ended_by_operator) }),
    all.length > 0 && h("p", null, "The pool's master remembers the last 20 VMs of either kind, "
      + "since it was started."));
});

/** @param at  when it was; masters of older versions do not say. */
export const Edit = memo(({ lines, at }) => h("details", { className: "ll-edit" },
  h("summary", null, "What the last edit of pool.yaml changed",
    at > 0 && h(Fragment, null, ", ", h(Age, { since: at }), " ago, at ", h(Moment, { at }))),
  h("ul", null, lines.map((line, at) => h("li", { key: at }, line)))));
