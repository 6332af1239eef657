// SPDX-License-Identifier: GPL-2.0-only
// What pages of jobs ask the master: documents of jobs, why requests wait, ends of logs.
import { listen, repeated } from "./ui/events.js";
import { clock } from "./ui/words.js";

const { useContext, useEffect, useRef, useState } = window.React;
const { DataClientContext } = window.BuildbotDataJs;

const PAUSE = 700; // milliseconds between two questions of one kind

const TROUBLES = {
  401: "Jobs are shown only to clients with a token, and this page has none.",
  403: "You may not see this. Log in as somebody who may.",
  404: "There is no such job.",
};

/** Ages are those by the master's clock; its moments have no fractions. */
const noteTime = (date) => {
  const ahead = (Date.parse(date) - Date.now()) / 1000;
  if (Math.abs(ahead - clock.ahead) > 1.5) clock.ahead = ahead;
};

/** Why an answer of that status is none. */
const troubleOf = (path, status) => (status === 404 && path.startsWith("api/")
  ? "It is not there any more." : TROUBLES[status]);

const fetched = async (path) => {
  const answer = await fetch(path, {
    credentials: "same-origin", headers: { Accept: "application/json" },
  });
  noteTime(answer.headers.get("Date"));
  if (answer.ok) return answer.json();
  const said = answer.status === 400 ? (await answer.json()).detail
    : troubleOf(path, answer.status);
  throw new Error(said || `The master answers with status ${answer.status}. Load the page again.`);
};

const LOST = "The connection to the master is lost. This page tries to get it back.";
const REFUSED = "You may not hear of changes, so this page shows what was when it was loaded. "
  + "Log in as somebody who may.";

/**
 * What the master answers at `path`, again after each event of the topics that `isMine`.
 *
 * @param topics  texts, or nothing: then it is asked once.
 * @returns `found`, `trouble` as a text, `silence`, which says why no news come, and `again` to ask.
 */
export const useFresh = (path, topics, isMine = () => true) => {
  const client = useContext(DataClientContext);
  const [state, setState] = useState({ found: null, trouble: "" });
  const [silence, setSilence] = useState("");
  const mine = useRef(isMine);
  const asked = useRef(() => {});
  mine.current = isMine;
  const names = topics.join(" ");
  useEffect(() => {
    if (!path) return undefined;
    let over = false;
    const show = (found) => { if (!over) setState({ found, trouble: "" }); };
    const fail = (error) => {
      if (!over) setState((before) => ({ ...before, trouble: error.message }));
    };
    const { again, stop } = repeated(() => fetched(path).then(show, fail), PAUSE);
    asked.current = again;
    again();
    const hear = (event) => { if (!event || mine.current(event)) again(); };
    const changed = (isLive, isRefused) => {
      if (!over) setSilence(isLive ? "" : isRefused ? REFUSED : LOST);
    };
    const leave = names && listen(client, names.split(" "), hear, changed);
    return () => { over = true; stop(); if (leave) leave(); };
  }, [client, path, names]);
  return { ...state, silence, again: () => asked.current() };
};

/** Whether the page "VMs" is there, which knows why requests wait. */
export const hasPools = () => !!document.querySelector('script[src*="plugins/latent_libvirt/"]');

/** Why build requests wait, by their ids. */
export const useReasons = (requests) => {
  const [events, setEvents] = useState([]);
  const query = requests.map((request) => `request=${request}`).join("&");
  const path = query && hasPools() ? `plugins/latent_libvirt/waiting?${query}` : "";
  const { found } = useFresh(path, events);
  const topic = found && found.events;
  useEffect(() => { if (topic) setEvents([topic]); }, [topic]);
  return path && found ? found.reasons : {};
};

const LINES = 30;
const LONGEST = 500; // characters of a line

const CONTROLS = /\u001b\[[0-9;?]*[ -/]*[@-~]|[\u0000-\u0008\u000b-\u001f\u007f]/g;

const plain = (line) => line.replace(CONTROLS, "").slice(0, LONGEST);

/**
 * The last lines of a log, as they come, or why there are none as `trouble`.
 * What is behind `#` makes it another question.
 */
export const useLogEnd = (log) => {
  const id = log ? log.id : 0;
  const about = useFresh(id ? `api/v2/logs/${id}` : "", id ? [`logs/${id}/*`] : []);
  const facts = about.found && about.found.logs[0];
  const count = facts ? facts.num_lines : 0;
  const from = Math.max(0, count - LINES);
  const path = count ? `api/v2/logs/${id}/contents?offset=${from}&limit=${LINES}#${count}` : "";
  const { found, trouble } = useFresh(path, []);
  const content = found ? found.logchunks[0].content : "";
  const isStdio = facts && facts.type === "s"; // its lines begin with the name of a channel
  const lines = content.replace(/\n$/, "").split("\n");
  return {
    count, lines: lines.map((line) => plain(isStdio ? line.slice(1) : line)),
    trouble: about.trouble || trouble,
  };
};
