// SPDX-License-Identifier: GPL-2.0-only
// VMs that a link leads to and that are gone: when and how each ended, as far as that is known.
import { Age, Build, Moment } from "./ui/elements.js";
import { duration } from "./ui/words.js";

const { createElement: h, Fragment, memo, useMemo } = window.React;

const WITH_VMS = ["vms", "spares", "held", "frozen", "saving"];

/** What an address leads to: `#/vms?vm=NAME`, or the id of a row. */
export const markedIn = (hash) => {
  const [, query = ""] = hash.split("?");
  const [, id] = /^#.*#vm-([^?#]+)/.exec(hash) || [];
  return new URLSearchParams(query.split("#")[0]).get("vm") || id || null;
};

/** The newest of rows that are of a VM, which is called by its id or its worker. */
const newest = (pools, section, name, moment) => pools
  .flatMap(({ sections }) => Object.values(sections[section]))
  .filter((row) => [row.vm_id, row.worker].includes(name))
  .sort((a, b) => moment(b) - moment(a))[0];

/** Whether a pool has it, or has not quite done with it. */
const isThere = (pools, name) => WITH_VMS.some((section) => newest(pools, section, name, () => 0))
  || pools.some(({ sections }) => Object.values(sections.uses)
    .some((use) => use.phase && [use.vm_id, use.worker].includes(name)));

/** How it ended, if nothing failed. */
const end = ({ phases, job }) => {
  const held = phases.find(([phase]) => phase === "held");
  if (held) return ` after it was held for ${duration(held[1])}`;
  return job ? " after its build" : "";
};

const Facts = ({ use, failure }) => {
  const { label, host, worker, vm_id: id, job } = use || failure;
  const slot = use ? `slot ${use.slot} of host ${host}` : `host ${host}`;
  const build = job || (failure && failure.job);
  return h(Fragment, null,
    `VM ${id} of label ${label} on ${slot}${worker ? ` (worker ${worker})` : ""} is gone. It `,
    failure && !failure.is_ended_by_operator ? "failed " : "ended ", h(Age, { since: failure ? failure.when : use.ended }), " ago, at ",
    h(Moment, { at: failure ? failure.when : use.ended }),
    failure ? `: ${failure.reason}.` : `${end(use)}.`,
    build && h(Fragment, null, " Its build is ", h(Build, { job: build }), "."));
};

const Unknown = ({ name }) => h(Fragment, null,
  `No pool has a VM or a worker with a VM that is called ${name}. Masters know a VM for an hour `
  + "after its end, and until they stop. The page of its build says what became of the build.");

/** What is known of the VM of that name, if no pool has it any more. */
export const NoVm = memo(({ name, pools }) => {
  const all = useMemo(() => Object.values(pools), [pools]);
  if (isThere(all, name)) return null;
  const use = newest(all, "uses", name, (row) => row.began);
  const failure = newest(all, "failures", use ? use.vm_id : name, (row) => row.when);
  return h("p", { className: "alert alert-info ll-text ll-no-vm" },
    use || failure ? h(Facts, { use, failure }) : h(Unknown, { name }));
});
