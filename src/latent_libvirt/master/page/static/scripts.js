// SPDX-License-Identifier: GPL-2.0-only
// The page "VMs" in Buildbot's web UI.
//
// Buildbot's UI has React, its router and its WebSocket on `window`, so there is nothing to build.
// Texts of guests, hosts and clients become text nodes, and never markup.
(() => {
  "use strict";

  const {
    createContext, createElement: h, Fragment, memo, useCallback, useContext, useEffect,
    useMemo, useRef, useState,
  } = window.React;
  const { DataClientContext, getWebSocketUrl } = window.BuildbotDataJs;
  const PLUGIN = "plugins/latent_libvirt";
  const SECTIONS = "pool hosts labels queues waiting vms spares held saving failures uses".split(" ");
  const GIB = 2 ** 30;

  // Words and numbers.

  const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];

  /** A duration as `latent-libvirt status` writes it: the two largest units. */
  const duration = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return `${whole} s`;
    const first = UNITS.findIndex(([, size]) => whole >= size);
    const [[large, size], [small, part]] = UNITS.slice(first, first + 2);
    const rest = String(Math.floor((whole % size) / part)).padStart(2, "0");
    return `${Math.floor(whole / size)}${large} ${rest}${small}`;
  };

  const clock = { ahead: 0 }; // seconds that the master's clock is ahead of this machine's
  const now = () => Date.now() / 1000 + clock.ahead;
  const number = (value) => String(Number(value.toPrecision(4)));

  /** What people call a master: Buildbot's name for it is `HOST:DIRECTORY`. */
  const masterName = (name) => {
    const [, host, directory] = /^([^:]*):.*?([^/]+)\/*$/.exec(name) || [];
    return directory ? `${directory} on ${host}` : name;
  };

  /** A link into Buildbot's UI, behind whatever proxy that is. */
  const local = (url) => (url.includes("#/") ? url.slice(url.indexOf("#/")) : "");

  // What the page knows: pools by id, each with its rows by section and key.

  const emptyPool = () => Object.fromEntries(SECTIONS.map((name) => [name, {}]));

  /** The rows of a pool after an answer of the master; sections without a change stay the same. */
  const merged = (before, part) => {
    const sections = part.all || !before ? emptyPool() : { ...before.sections };
    for (const [section, rows] of Object.entries(part.set)) {
      sections[section] = { ...sections[section], ...rows };
    }
    for (const [section, keys] of Object.entries(part.drop)) {
      sections[section] = { ...sections[section] };
      for (const key of keys) delete sections[section][key];
    }
    const { master, name, state, heard } = part;
    return { master, name, state, heard, sections };
  };

  const fetched = async (known) => {
    const query = new URLSearchParams({ board: known.board, since: known.version });
    const answer = await fetch(`${PLUGIN}/pools?${query}`, { credentials: "same-origin" });
    if (answer.status === 403) throw Object.assign(new Error(), { forbidden: true });
    if (!answer.ok) throw new Error(`the master answers with status ${answer.status}`);
    return answer.json();
  };

  const updated = (known, answer) => {
    clock.ahead = answer.now - Date.now() / 1000;
    const before = known.board === answer.board ? known.pools : {};
    const parts = Object.entries(answer.pools);
    const pools = Object.fromEntries(parts.map(([id, part]) => [id, merged(before[id], part)]));
    return { ...answer, pools };
  };

  // News through Buildbot's WebSocket. Buildbot does not open a lost one again; this page does.

  const LONGEST_PAUSE = 10000;

  const listen = (client, topic, heard, changed) => {
    const bell = (event) => event.k === topic && heard();
    const shared = client.webSocketClient;
    const leaveStream = shared.eventStream.subscribe(bell);
    let socket = shared.socket;
    let over = false;
    let timer = 0;

    const lost = (pause) => {
      if (over) return;
      changed(false);
      timer = setTimeout(() => reopen(Math.min(pause * 2, LONGEST_PAUSE)), pause);
    };
    const reopen = (pause) => {
      socket = new WebSocket(getWebSocketUrl(window.location));
      let opened = false;
      socket.onopen = () => {
        opened = true;
        socket.send(JSON.stringify({ cmd: "startConsuming", path: topic, _id: 1 }));
      };
      socket.onmessage = (message) => {
        const event = JSON.parse(message.data);
        if (event._id === 1) { changed(true); heard(); }
        bell(event);
      };
      socket.onclose = () => lost(opened ? 1000 : pause);
    };

    const onClose = () => lost(1000);
    socket.addEventListener("close", onClose);
    if (socket.readyState > WebSocket.OPEN) lost(0);
    else shared.subscribe(topic, bell).then(heard);
    return () => {
      over = true;
      clearTimeout(timer);
      leaveStream();
      if (socket === shared.socket) {
        socket.removeEventListener("close", onClose);
        shared.unsubscribe(topic, bell);
      } else {
        socket.onclose = null;
        socket.close();
      }
    };
  };

  /** The pools of all masters, as they are at each moment. */
  const usePools = () => {
    const client = useContext(DataClientContext);
    const [known, setKnown] = useState({ board: "", version: 0, pools: null });
    const [trouble, setTrouble] = useState("");
    const [isLive, setLive] = useState(true);
    const latest = useRef(known);
    useEffect(() => {
      let over = false;
      let leave = null;
      let isAsking = false;
      let isAskedAgain = false;
      const show = (answer) => {
        if (over) return;
        latest.current = updated(latest.current, answer);
        setKnown(latest.current);
        setTrouble("");
        if (!leave) leave = listen(client, answer.events, ask, (is) => !over && setLive(is));
      };
      const fail = (error) => {
        if (over) return;
        setTrouble(error.forbidden ? "You may not see the VMs. Log in as somebody who may."
          : `The VMs cannot be shown: ${error.message}. Load the page again.`);
      };
      const ask = () => {
        isAskedAgain = isAsking;
        if (isAsking) return;
        isAsking = true;
        fetched(latest.current).then(show, fail).finally(() => {
          isAsking = false;
          if (isAskedAgain && !over) ask();
        });
      };
      ask();
      return () => { over = true; if (leave) leave(); };
    }, [client]);
    return { known, trouble, isLive };
  };

  // What the user may do, and asks for.

  const Rights = createContext({});
  const Said = createContext(() => {});

  /** What the user may do to each pool; asked again when there are other pools. */
  const useRights = (pools) => {
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
    hold: (what) => `${what} will be held when its job has ended.`,
    release: (what) => `${what} is gone.`,
    end: (what) => `${what} is gone.`,
  };

  const HOLDS = [["1 h", 3600], ["4 h", 14400], ["1 day", 86400], ["15 min", 900]];

  /**
   * A button, if the user may do that. With a question, a second one does it.
   * The name of the thing is part of what a screen reader says.
   */
  const Act = ({ pool, command, text, of, request, question, choices }) => {
    const rights = useContext(Rights);
    const say = useContext(Said);
    const [isOpen, setOpen] = useState(false);
    const [isBusy, setBusy] = useState(false);
    const [choice, setChoice] = useState(choices ? choices[0][1] : null);
    if (!(rights[pool] || []).includes(command)) return null;
    const act = () => {
      setBusy(true);
      setOpen(false);
      const more = choices ? { seconds: choice } : {};
      asked(pool, { command, ...request, ...more })
        .then((what) => say(DONE[command](what)), (error) => say(error.message, true))
        .finally(() => setBusy(false));
    };
    const button = (words, onClick) => h("button", {
      type: "button", className: "btn btn-outline-secondary btn-sm ll-act", disabled: isBusy,
      "aria-label": `${words} ${of}`, onClick,
    }, words);
    if (!isOpen) return button(text, question || choices ? () => setOpen(true) : act);
    return h("span", { className: "ll-asks", role: "group", "aria-label": `${text} ${of}` },
      question && h("span", null, question),
      choices && h("select", {
        "aria-label": `How long to hold ${of}`, value: choice,
        onChange: (event) => setChoice(Number(event.target.value)),
      }, choices.map(([name, value]) => h("option", { key: value, value }, name))),
      button(text, act), button("Cancel", () => setOpen(false)));
  };

  const Drain = ({ pool, kind, row }) => h(Act, {
    pool, command: row.drained ? "undrain" : "drain", text: row.drained ? "Undrain" : "Drain",
    of: `${kind} ${row.name}`, request: { name: row.name, kind },
  });

  const Hold = ({ pool, row }) => h(Act, {
    pool, command: "hold", text: "Hold", of: row.worker, request: { name: row.vm_id },
    choices: HOLDS,
  });

  const Release = ({ pool, row }) => h(Act, {
    pool, command: "release", text: "Release", of: row.worker || row.domain,
    request: { name: row.vm_id }, question: "The VM is deleted. ",
  });

  const End = ({ pool, row }) => h(Act, {
    pool, command: "end", text: "End", of: row.worker || row.domain,
    request: { name: row.vm_id },
    question: row.job ? "Its build starts again in another VM. " : "The VM is deleted. ",
  });

  const Outcome = ({ said }) => h("p", {
    className: `alert alert-${said.isBad ? "danger" : "success"} ll-text`,
  }, said.text);

  // Ages are written once a second straight into their elements: React has nothing to do then.

  const ageText = (since, until) =>
    until ? duration(until - now()) : since ? duration(now() - since) : "";

  const ages = new Set();
  setInterval(() => { if (!document.hidden) for (const write of ages) write(); }, 1000);

  const Age = memo(({ since, until }) => {
    const element = useRef(null);
    useEffect(() => {
      const write = () => { element.current.textContent = ageText(since, until); };
      write();
      ages.add(write);
      return () => ages.delete(write);
    }, [since, until]);
    return h("span", { ref: element, className: "ll-age" });
  });

  // Tables.

  // On a phone, styles.css makes a card of each row. The roles keep it a table for screen readers.

  const Table = ({ caption, columns, children }) =>
    h("table", { className: "table table-sm ll-table", role: "table" },
      h("caption", null, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((name) =>
        h("th", { key: name, scope: "col", role: "columnheader" }, name)))),
      h("tbody", { role: "rowgroup" }, children));

  const Row = ({ head, cells, columns, id, isMarked }) =>
    h("tr", { id, className: isMarked ? "ll-marked" : undefined, role: "row" },
      h("th", { scope: "row", role: "rowheader" }, head),
      cells.map((cell, at) =>
        h("td", { key: columns[at + 1], role: "cell", "data-column": columns[at + 1] }, cell)));

  const Words = ({ words }) => words.map(([kind, text], at) =>
    h(Fragment, { key: at }, at > 0 && "; ", h("span", { className: `ll-${kind}` }, text)));

  const Build = ({ job }) => job
    ? h("a", { href: local(job.url) || undefined }, `${job.builder} #${job.number}`) : null;

  const used = (usage) => (usage ? `${usage.used} of ${usage.most}` : "");
  const inGib = (usage) =>
    (usage ? `${number(usage.used / GIB)} of ${number(usage.most / GIB)} GiB` : "");

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
    const unfit = label.unfit.map((text) => ["odd", text]);
    if (!label.hosts.some((host) => takers.has(host))) {
      return [["bad", "no host takes VMs"], ...unfit];
    }
    if (label.used >= label.max_vms) return [["plain", "full"], ...unfit];
    return unfit.length ? unfit : [["good", "ready"]];
  };

  const ordered = (rows) => Object.values(rows).sort((a, b) => a.at - b.at);
  const oldestFirst = (rows) => Object.values(rows).sort((a, b) => a.since - b.since);

  const savedText = (host) => {
    const slots = new Set(host.saved.map((state) => state.slot)).size;
    return slots ? `${slots}: ${inGib(host.saved_state_space)}` : "";
  };

  /** The columns of hosts that say something of one of them, each with its text. */
  const HOST_COLUMNS = [
    ["VMs", (host) => host.used],
    ["Slots", (host) => host.slots],
    ["vCPUs", (host) => used(host.vcpus)],
    ["Memory", (host) => inGib(host.memory)],
    ["Saved states", savedText],
    ["State", (host, pool) => h(Fragment, null, h(Words, { words: hostState(host) }), " ",
      h(Drain, { pool, kind: "host", row: host }))],
  ];

  const Hosts = memo(({ hosts, pool }) => {
    const all = ordered(hosts);
    const told = HOST_COLUMNS.filter(([, text]) => all.some((host) => text(host) !== ""));
    const columns = ["Host", ...told.map(([name]) => name)];
    return h(Table, { caption: "Hosts", columns }, all.map((host) => h(Row, {
      key: host.name, columns, head: host.name, cells: told.map(([, text]) => text(host, pool)),
    })));
  });

  const LABELS = ["Label", "VMs", "Max", "Spares", "Waiting", "For", "State"];

  const Labels = memo(({ labels, hosts, queues, spares, facts, pool }) => {
    const takers = new Set(Object.values(hosts).filter((host) => host.usable && !host.drained)
      .map((host) => host.name));
    const ready = (label) => Object.values(spares).filter((spare) => spare.label === label.name)
      .length;
    const waiting = (queue) => (facts.queues_known ? (queue ? queue.requests : 0) : "?");
    return h(Table, { caption: "Labels", columns: LABELS }, ordered(labels).map((label) => {
      const queue = queues[label.name];
      return h(Row, {
        key: label.name,
        columns: LABELS,
        head: label.name,
        cells: [label.used, label.max_vms, ready(label), waiting(queue),
          queue && queue.requests ? h(Age, { since: queue.oldest_since }) : "",
          h(Fragment, null, h(Words, { words: labelState(label, takers) }), " ",
            h(Drain, { pool, kind: "label", row: label }))],
      });
    }));
  });

  const OtherQueues = memo(({ labels, queues }) => Object.values(queues)
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

  const Waiting = memo(({ waiting }) => h(Table, { caption: "Waiting requests", columns: WAITING },
    Object.values(waiting).sort((a, b) => b.priority - a.priority || a.request - b.request)
      .map((row) => h(WaitingRow, { key: row.request, row }))));

  const VMS = ["Worker", "Label", "Host", "Domain", "Phase", "For", "Age", "Build"];

  const VmRow = memo(({ row, isMarked, pool }) => h(Row, {
    columns: VMS,
    id: `vm-${row.vm_id}`,
    isMarked,
    head: row.worker,
    cells: [row.label, row.host, row.domain, row.phase, h(Age, { since: row.phase_since }),
      h(Age, { since: row.since }),
      h(Fragment, null,
        row.failure ? h(Words, { words: [["bad", row.failure]] }) : h(Build, { job: row.job }),
        " ", h(Hold, { pool, row }), " ", h(End, { pool, row }))],
  }));

  const Vms = memo(({ vms, marked, pool }) => h(Table, { caption: "VMs with a worker", columns: VMS },
    oldestFirst(vms).map((row) => h(VmRow, {
      key: row.vm_id, row, pool, isMarked: [row.vm_id, row.worker].includes(marked),
    }))));

  const IDLE = ["Label", "Host", "Domain", "Phase", "Age"];

  const Idle = memo(({ caption, vms, pool }) => h(Table, { caption, columns: IDLE },
    oldestFirst(vms).map((row) => h(Row, {
      key: row.vm_id,
      columns: IDLE,
      id: `vm-${row.vm_id}`,
      head: row.label,
      cells: [row.host, row.domain, row.phase,
        h(Fragment, null, h(Age, { since: row.since }), " ", h(End, { pool, row }))],
    }))));

  const HELD = ["Worker", "Label", "Host", "Domain", "Left", "Build"];

  const Held = memo(({ held, marked, pool }) => h(Table, { caption: "Held VMs", columns: HELD },
    Object.values(held).sort((a, b) => a.until - b.until).map((row) => h(Row, {
      key: row.vm_id,
      columns: HELD,
      id: `vm-${row.vm_id}`,
      isMarked: [row.vm_id, row.worker].includes(marked),
      head: row.worker || "(unknown)",
      cells: [row.label, row.host, row.domain, h(Age, { until: row.until }),
        h(Fragment, null, h(Build, { job: row.job }), " ", h(Release, { pool, row }))],
    }))));

  const FAILURES = ["When", "Host", "Label", "Worker", "Build", "Reason"];

  const Moment = ({ at }) => h("time", { dateTime: new Date(at * 1000).toISOString() },
    new Date(at * 1000).toLocaleString());

  const Reason = ({ row }) => h(Fragment, null, row.reason, row.details && h("details", null,
    h("summary", null, "More, and the end of its console"),
    h("pre", { className: "ll-text", tabIndex: 0 }, row.details)));

  const Failures = memo(({ failures }) => h(Table, { caption: "Last failures", columns: FAILURES },
    Object.entries(failures).sort(([, a], [, b]) => b.when - a.when).map(([key, row]) => h(Row, {
      key,
      columns: FAILURES,
      head: h(Moment, { at: row.when }),
      cells: [row.host, row.label, row.worker, h(Build, { job: row.job }), h(Reason, { row })],
    }))));

  const Edit = memo(({ lines }) => h("details", { className: "ll-edit" },
    h("summary", null, "What the last edit of pool.yaml changed"),
    h("ul", null, lines.map((line, at) => h("li", { key: at }, line)))));

  // The timeline: a line for each slot, with what its VMs did in the last hour.

  const HOUR = 3600;
  const KINDS = [
    ["start", "starting", ["prepare", "clone", "boot", "resume", "save"]],
    ["attach", "attaching", ["assign", "attach"]],
    ["build", "building", ["build"]],
    ["idle", "waiting", ["waiting", "idle"]],
    ["held", "held", ["held"]],
    ["end", "tearing down", ["tear-down"]],
  ];
  const kindOf = (phase) => (KINDS.find(([, , phases]) => phases.includes(phase)) || ["start"])[0];

  /** The parts of a VM's life in the last hour: what, from when, for how long. */
  const partsOf = (use, until) => {
    let from = use.began;
    const parts = use.phases.map(([phase, seconds]) => {
      const part = { phase, from, seconds };
      from += seconds;
      return part;
    });
    if (use.phase) {
      parts.push({ phase: use.phase, from: use.phase_since, seconds: until - use.phase_since });
    }
    return parts.filter((part) => part.from + part.seconds > until - HOUR);
  };

  const percent = (seconds) => `${Math.max(0, (100 * seconds) / HOUR).toFixed(3)}%`;

  const Part = ({ part, use, until }) => {
    const from = Math.max(part.from, until - HOUR);
    const words = [part.phase, duration(part.seconds), use.label,
      use.job && `${use.job.builder} #${use.job.number}`];
    return h("span", {
      className: `ll-part ll-is-${kindOf(part.phase)}`,
      title: words.filter(Boolean).join(", "),
      style: { left: percent(from - until + HOUR), width: percent(part.from + part.seconds - from) },
    });
  };

  const summary = (parts) => {
    const built = parts.filter((part) => part.phase === "build")
      .reduce((sum, part) => sum + part.seconds, 0);
    return `${Math.round((100 * Math.min(built, HOUR)) / HOUR)} % of the last hour building`;
  };

  const Slot = ({ host, slot, uses, until }) => {
    const all = uses.map((use) => [use, partsOf(use, until)]);
    const parts = all.flatMap(([, found]) => found);
    const current = uses.find((use) => use.phase);
    const state = current ? `now: ${current.phase}` : "now: free";
    return h("div", { className: "ll-slot" },
      h("span", { className: "ll-slot-name" }, `${host} ${slot}`),
      h("span", { className: "ll-slot-line", role: "img",
        "aria-label": `Slot ${slot} of host ${host}, ${state}, ${summary(parts)}` },
      all.map(([use, found]) => found.map((part, at) =>
        h(Part, { key: `${use.vm_id} ${at}`, part, use, until })))));
  };

  const Legend = () => h("p", { className: "ll-legend" }, KINDS.map(([kind, words]) =>
    h("span", { key: kind }, h("span", { className: `ll-swatch ll-is-${kind}` }), ` ${words} `)));

  const Timeline = memo(({ hosts, uses }) => {
    const [isOpen, setOpen] = useState(false);
    const [until, setUntil] = useState(now());
    useEffect(() => {
      if (!isOpen) return undefined;
      setUntil(now());
      const timer = setInterval(() => { if (!document.hidden) setUntil(now()); }, 5000);
      return () => clearInterval(timer);
    }, [isOpen, uses]);
    const bySlot = useMemo(() => {
      const found = {};
      for (const use of Object.values(uses)) {
        (found[`${use.host}/${use.slot}`] ||= []).push(use);
      }
      return found;
    }, [uses]);
    const slots = (host) => Array.from({ length: host.slots }, (_, at) => at + 1);
    return h("details", {
      className: "ll-timeline", onToggle: (event) => setOpen(event.currentTarget.open),
    },
    h("summary", null, "Slots in the last hour"),
    isOpen && h(Legend),
    isOpen && ordered(hosts).flatMap((host) => slots(host).map((slot) => h(Slot, {
      key: `${host.name} ${slot}`, host: host.name, slot, until,
      uses: bySlot[`${host.name}/${slot}`] || [],
    }))));
  });

  // A pool, and the page.

  const STATES = {
    silent: "Its master does not answer. What follows is what it said last, before ",
    stopped: "Its master has stopped. What follows is what it said last, before ",
  };

  const Refusal = ({ text }) => h("div", { className: "alert alert-warning", role: "status" },
    h("p", null, "What was saved last in pool.yaml is refused. "
      + "The configuration before it goes on:"),
    h("pre", { className: "ll-text" }, text));

  const has = (rows) => Object.keys(rows).length > 0;

  const Pool = memo(({ id, pool, marked }) => {
    const {
      hosts, labels, queues, waiting, vms, spares, held, saving, failures, uses,
    } = pool.sections;
    const facts = pool.sections.pool[""];
    const title = `Pool ${pool.name} of ${masterName(pool.master)}`;
    if (!facts) return null;
    return h("section", { "aria-label": title, "data-pool": id, className: "ll-pool" },
      h("h2", null, title),
      pool.state !== "live" && h("p", { className: "alert alert-danger", role: "status" },
        STATES[pool.state], h(Age, { since: pool.heard }), "."),
      h("p", { className: "ll-sum" }, `${facts.used} of at most ${facts.max_vms} VMs`),
      facts.refused && h(Refusal, { text: facts.refused }),
      facts.changed.length > 0 && h(Edit, { lines: facts.changed }),
      h(Hosts, { hosts, pool: id }),
      h(Timeline, { hosts, uses }),
      h(Labels, { labels, hosts, queues, spares, facts, pool: id }),
      h(OtherQueues, { labels, queues }),
      has(waiting) && h(Waiting, { waiting }),
      has(vms) && h(Vms, { vms, marked, pool: id }),
      has(spares) && h(Idle, { caption: "Spares", vms: spares, pool: id }),
      has(held) && h(Held, { held, marked, pool: id }),
      has(saving) && h(Idle, { caption: "VMs to be saved", vms: saving, pool: id }),
      ![vms, spares, held, saving].some(has) && h("p", null, "No VM."),
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
    const marked = new URLSearchParams(window.location.hash.split("?")[1] || "").get("vm");
    const pools = useMemo(() => Object.entries(known.pools || {}), [known.pools]);
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
        said && h(Outcome, { said })),
      known.pools === null && !trouble && h("p", null, "Loading…"),
      known.pools && !pools.length && h("p", null, "No master of this database has a pool."),
      h(Rights.Provider, { value: rights }, h(Said.Provider, { value: say },
        pools.map(([id, pool]) => h(Pool, { key: id, id, pool, marked })))),
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
    registration.registerRoute({ route: "/vms", group: "latent_libvirt", element: () => h(Page) });
  });
})();
