// SPDX-License-Identifier: GPL-2.0-only
// News through Buildbot's WebSocket. Buildbot does not open a lost one again; these pages do.

const { getWebSocketUrl } = window.BuildbotDataJs;

const [SHORTEST_PAUSE, LONGEST_PAUSE] = [1000, 10000];

/** Whether an event's key is of a topic, in which `*` stands for any part. */
const isOf = (topic, key) => {
  const [wanted, parts] = [topic.split("/"), key.split("/")];
  return wanted.length === parts.length
    && wanted.every((part, at) => part === "*" || part === parts[at]);
};

/** Whether the master lets this browser hear nothing. A browser does not say it of a WebSocket. */
const isRefused = async () => {
  try {
    const signal = AbortSignal.timeout(5000);
    const answer = await fetch("api/v2/masters?limit=1", { credentials: "same-origin", signal });
    return answer.status === 403;
  } catch {
    return false;
  }
};

/**
 * Call `heard` for each event of the topics, and once when they are listened to (without an event).
 *
 * A connection that is refused is not tried again: a login loads the page again.
 *
 * @param changed  called with whether the connection to the master is there, and if not, whether it
 *   is refused.
 * @returns what ends it.
 */
export const listen = (client, topics, heard, changed) => {
  const bell = (event) => {
    if (event.k && topics.some((topic) => isOf(topic, event.k))) heard(event);
  };
  const shared = client.webSocketClient;
  const leaveStream = shared.eventStream.subscribe(bell);
  let socket = shared.socket;
  let over = false;
  let timer = 0;

  const lost = async (pause) => {
    if (over) return;
    changed(false, false);
    const refused = await isRefused();
    if (over) return;
    if (refused) { changed(false, true); return; }
    const next = Math.min(Math.max(pause * 2, SHORTEST_PAUSE), LONGEST_PAUSE);
    timer = setTimeout(() => reopen(next), pause);
  };
  const reopen = (pause) => {
    socket = new WebSocket(getWebSocketUrl(window.location));
    let opened = false;
    socket.onopen = () => {
      opened = true;
      topics.forEach((path, at) =>
        socket.send(JSON.stringify({ cmd: "startConsuming", path, _id: at + 1 })));
    };
    socket.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (event._id === topics.length) { changed(true); heard(); }
      bell(event);
    };
    socket.onclose = () => lost(opened ? SHORTEST_PAUSE : pause);
  };

  const onClose = () => lost(SHORTEST_PAUSE);
  socket.addEventListener("close", onClose);
  if (socket.readyState > WebSocket.OPEN) lost(0);
  else Promise.all(topics.map((topic) => shared.subscribe(topic, bell))).then(() => heard());
  return () => {
    over = true;
    clearTimeout(timer);
    leaveStream();
    if (socket === shared.socket) {
      socket.removeEventListener("close", onClose);
      for (const topic of topics) shared.unsubscribe(topic, bell);
    } else {
      socket.onclose = null;
      socket.close();
    }
  };
};

/**
 * Ask whenever that is wanted, never twice at a time.
 *
 * @param ask  returns a promise that does not fail.
 * @param pause  milliseconds between two times, at least.
 */
export const repeated = (ask, pause = 0) => {
  let [isBusy, isWanted, timer] = [false, false, 0];
  const rest = () => {
    isBusy = false;
    if (isWanted) again();
  };
  const again = () => {
    isWanted = isBusy;
    if (isBusy) return;
    isBusy = true;
    ask().finally(() => { timer = setTimeout(rest, pause); });
  };
  const stop = () => {
    [isBusy, isWanted] = [true, false];
    clearTimeout(timer);
  };
  return { again, stop };
};
