// SPDX-License-Identifier: GPL-2.0-only
// What the page knows: pools by id, each with its rows by section and key.
import { listen, repeated } from "./ui/events.js";
import { clock } from "./ui/words.js";

const { useContext, useEffect, useRef, useState } = window.React;
const { DataClientContext } = window.BuildbotDataJs;

export const PLUGIN = "plugins/latent_libvirt";
const SECTIONS = "pool hosts labels queues waiting vms spares held frozen saving failures uses".split(" ");

const emptyPool = () => Object.fromEntries(SECTIONS.map((name) => [name, {}]));

/** The rows of a pool after an answer of the master; sections without a change stay the same. */
const merged = (before, part) => {
  const hasNews = part.all || [part.set, part.drop].some((news) => Object.keys(news).length > 0);
  if (before && !hasNews && before.state === "live" && part.state === "live") return before;
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

const isOlder = (answer, known) => answer.board === known.board && answer.version < known.version;

/** Whether news have all that the page does not know. Else they say that there is much, or are late. */
const areAll = (news, known) => news.pools && news.board === known.board
  && news.since <= known.version;

const fetched = async (known) => {
  const query = new URLSearchParams({ board: known.board, since: known.version });
  const answer = await fetch(`${PLUGIN}/pools?${query}`, { credentials: "same-origin" });
  if (answer.status === 403) throw Object.assign(new Error(), { forbidden: true });
  if (!answer.ok) throw new Error(`the master answers with status ${answer.status}`);
  return answer.json();
};

const WITH_VMS = "vms held frozen spares".split(" ");

/** What a VM is called, by the id of its pool and its own: its worker, host and build, if they are known. */
export const useTitle = (pool, vm) => {
  const [title, setTitle] = useState("");
  useEffect(() => {
    let over = false;
    setTitle(""); // it was that of another VM
    fetched({ board: "", version: 0 }).then((answer) => {
      const sections = answer.pools[pool]?.set || {};
      const row = WITH_VMS.map((name) => sections[name]?.[vm]).find((found) => found);
      if (over || !row) return;
      const job = row.job ? `, build ${row.job.builder} #${row.job.number}` : "";
      setTitle(`${row.worker || row.domain} on host ${row.host}${job}`);
    }).catch(() => {}); // the VM's id remains
    return () => { over = true; };
  }, [pool, vm]);
  return title;
};

const updated = (known, answer) => {
  clock.ahead = answer.now - Date.now() / 1000;
  const before = known.board === answer.board ? known.pools : {};
  const parts = Object.entries(answer.pools);
  const pools = Object.fromEntries(parts.map(([id, part]) => [id, merged(before[id], part)]));
  return { ...answer, pools };
};

/** The pools of all masters, as they are at each moment. */
export const usePools = () => {
  const client = useContext(DataClientContext);
  const [known, setKnown] = useState({ board: "", version: 0, pools: null });
  const [trouble, setTrouble] = useState("");
  const [isLive, setLive] = useState(true);
  const latest = useRef(known);
  useEffect(() => {
    let over = false;
    let leave = null;
    const show = (answer) => {
      if (over || isOlder(answer, latest.current)) return;
      latest.current = updated(latest.current, answer);
      setKnown(latest.current);
      setTrouble("");
      if (!leave) leave = listen(client, [answer.events], hear, changed);
    };
    const fail = (error) => {
      if (over) return;
      setTrouble(error.forbidden ? "You may not see the VMs. Log in as somebody who may."
        : `The VMs cannot be shown: ${error.message}. Load the page again.`);
    };
    const changed = (is, isRefused) => {
      if (!over) setLive(is || isRefused);
      if (isRefused) fail({ forbidden: true });
    };
    const { again, stop } = repeated(() => fetched(latest.current).then(show, fail));
    const hear = (event) => {
      const news = event && event.m;
      if (!news || !areAll(news, latest.current)) again();
      else show(news);
    };
    again();
    return () => { over = true; stop(); if (leave) leave(); };
  }, [client]);
  return { known, trouble, isLive };
};
