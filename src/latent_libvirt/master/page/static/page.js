// SPDX-License-Identifier: GPL-2.0-only
// The page "VMs": the pools of all masters.
import {
  Outcome, Refresh, Rights, Said, useRights, WithScreen,
} from "./actions.js";
import { markedIn, NoVm } from "./gone.js";
import { Needs } from "./needs.js";
import { usePools } from "./pools.js";
import { Timeline } from "./slots.js";
import {
  Edit, Failures, Frozen, Held, Hosts, Idle, Labels, OtherQueues, Vms, Waiting,
} from "./tables.js";
import { ScreenPage } from "./screen.js";
import { TerminalPage } from "./terminal.js";
import { Age } from "./ui/elements.js";
import { Find } from "./ui/long.js";
import { Usage } from "./usage.js";
import { masterName } from "./ui/words.js";

const {
  createElement: h, Fragment, memo, useCallback, useEffect, useMemo, useState,
} = window.React;

const STATES = {
  silent: "Its master does not answer. What follows is what it said last, ",
  stopped: "Its master has stopped. What follows is what it said last, ",
};

const Refusal = ({ text }) => h("div", { className: "alert alert-warning", role: "status" },
  h("p", null, "What was saved last in pool.yaml is refused. "
    + "The configuration before it goes on:"),
  h("pre", { className: "ll-text" }, text));

const has = (rows) => Object.keys(rows).length > 0;

const Pool = memo(({ id, pool, marked }) => {
  const {
    hosts, labels, queues, waiting, vms, spares, held, frozen, saving, failures, uses,
  } = pool.sections;
  const facts = pool.sections.pool[""];
  const title = `Pool ${pool.name} of ${masterName(pool.master)}`;
  if (!facts) return null;
  return h("section", { "aria-label": title, "data-pool": id, className: "ll-pool" },
    h("h2", null, title),
    pool.state !== "live" && h("p", { className: "alert alert-danger", role: "status" },
      STATES[pool.state], h(Age, { since: pool.heard }), " ago."),
    h("p", { className: "ll-sum" }, `${facts.used} of at most ${facts.max_vms} VMs `,
      h(Refresh, { pool: id, name: pool.name })),
    facts.refused && h(Refusal, { text: facts.refused }),
    facts.changed.length > 0 && h(Edit, { lines: facts.changed, at: facts.changed_at }),
    h(Hosts, { hosts, pool: id }),
    h(Timeline, { hosts, uses }),
    h(Labels, { labels, hosts, queues, spares, facts, pool: id }),
    h(OtherQueues, { labels, queues }),
    has(waiting) && h(Waiting, { waiting }),
    has(vms) && h(Vms, { vms, marked, pool: id }),
    has(spares) && h(Idle, { caption: "Spares", vms: spares, marked, pool: id }),
    has(held) && h(Held, { held, marked, pool: id }),
    has(frozen) && h(Frozen, { frozen, marked, pool: id }),
    has(saving) && h(Idle, { caption: "VMs to be saved", vms: saving, marked, pool: id }),
    ![vms, spares, held, frozen, saving].some(has) && h("p", null, "No VM."),
    has(failures) && h(Failures, { failures }));
});

const Gone = memo(({ masters }) => masters.length > 0 && h("p", { className: "ll-gone" },
  "Masters that do not run: ",
  masters.map((each, at) => h(Fragment, { key: each.id }, at > 0 && ", ", masterName(each.name))), "."));

const Page = () => {
  const { known, trouble, isLive } = usePools();
  const rights = useRights(known.pools);
  const [said, setSaid] = useState(null);
  const say = useCallback((text, isBad) => setSaid({ text, isBad }), []);
  const marked = markedIn(window.location.hash);
  const pools = useMemo(() => Object.entries(known.pools || {}), [known.pools]);
  const withScreen = useMemo(() => new Set(pools.flatMap(([id, { sections }]) => Object
    .values(sections.labels).filter((label) => label.graphics)
    .map((label) => `${id} ${label.name}`))), [pools]);
  useEffect(() => {
    const row = marked && document.querySelector(".ll-marked");
    if (row) row.scrollIntoView({ block: "center" });
  }, [marked, known.pools === null]);
  return h("div", { className: "container ll-page" },
    h("h1", null, "VMs"),
    h("div", { role: "status" },
      trouble && h("p", { className: "alert alert-danger" }, trouble),
      !isLive && h("p", { className: "alert alert-warning" },
        "The connection to the master is lost. This page tries to get it back."),
      said && h(Outcome, { said, close: () => setSaid(null) })),
    known.pools === null && !trouble && h("p", null, "Loading…"),
    known.pools && !pools.length && h("p", null, "No master of this database has a pool."),
    h("div", { "aria-live": "polite" },
      marked && pools.length > 0 && h(NoVm, { name: marked, pools: known.pools })),
    h(Needs, { pools }),
    h(Rights.Provider, { value: rights }, h(WithScreen.Provider, { value: withScreen },
      h(Said.Provider, { value: say },
        pools.length > 0 && h(Find, { marked },
          pools.map(([id, pool]) => h(Pool, { key: id, id, pool, marked })))))),
    known.pools && h(Usage),
    known.pools && h(Gone, { masters: known.stopped_masters }));
};

const Icon = () => h("svg", {
  viewBox: "0 0 16 16", width: "1em", height: "1em", fill: "currentColor", "aria-hidden": true,
}, h("path", { d: "M1 2h14v4H1zM1 7h14v4H1zM3 12h10v2H3zM3 3v2h2V3zM3 8v2h2V8z" }));

window.BuildbotPluginSupport.buildbotSetupPlugin((registration) => {
  registration.registerMenuGroup({
    name: "latent_libvirt", parentName: null, caption: "VMs", icon: h(Icon), order: 12,
    route: "/vms",
  });
  const group = "latent_libvirt";
  registration.registerRoute({ route: "/vms", group, element: () => h(Page) });
  registration.registerRoute({ route: "/vms/terminal", group, element: () => h(TerminalPage) });
  registration.registerRoute({ route: "/vms/screen", group, element: () => h(ScreenPage) });
});
