// SPDX-License-Identifier: GPL-2.0-only
// The page of a terminal: the serial console of a VM, by xterm.js.
import { PLUGIN, useTitle } from "./pools.js";

const { createElement: h, useEffect, useId, useRef, useState } = window.React;
const { useSearchParams } = window.ReactRouterDOM;

const HEAD = 5; // bytes of a frame before its content: its kind, and the length
const LONGEST = 64 * 1024; // bytes of a message to the master
const MOST_EARLY = 4096; // characters that are kept until there is a connection
const TOLD_EACH = 64 * 1024; // bytes that are shown before the master hears of it

const BY_MASTER = 1000; // the code of a WebSocket that the master has closed, after it has said why

const SETTLED = 200; // milliseconds without output or another size, after which a line is complete
const PROMPT = /^\S*[#$] $/; // of a shell, with nothing typed

const WAITING = "Connected. Waiting for a prompt in the VM…";

/** Why a terminal would be refused; nothing if not. A browser does not say it of a WebSocket. */
const refusal = async (query) => {
  let answer;
  try {
    answer = await fetch(`${PLUGIN}/terminal?${query}&look=1`, { credentials: "same-origin" });
  } catch {
    return "the master does not answer. Load the page again when it runs";
  }
  return answer.ok ? "" : (await answer.json()).error;
};

const style = () => {
  if (document.getElementById("ll-xterm")) return;
  const link = document.createElement("link");
  Object.assign(link, { id: "ll-xterm", rel: "stylesheet", href: `${PLUGIN}/xterm/xterm.css` });
  document.head.append(link);
};

const socketOf = (query) => {
  const url = new URL(`${PLUGIN}/terminal?${query}`, document.baseURI);
  url.hash = "";
  url.protocol = url.protocol.replace("http", "ws");
  return new WebSocket(url);
};

const ANOTHER = "Enter opens another one."; // the end of the notice that the shell is closed

/**
 * Let the size of the shell follow that of the terminal: a serial console knows none.
 * The command for that is typed at an empty prompt of the first shell, and nowhere else.
 * At each prompt, prompted is called. What is returned ends that, or begins with another shell.
 */
const followSize = (terminal, type, prompted) => {
  let [known, shell, timer] = ["", null, 0];
  const line = () => {
    const { type: kind, baseY, cursorX, cursorY } = terminal.buffer.active;
    const found = kind === "normal" && terminal.buffer.active.getLine(baseY + cursorY);
    return found ? found.translateToString(false, 0, cursorX) : "";
  };
  const settle = () => {
    const text = line();
    const size = `rows ${terminal.rows} cols ${terminal.cols}`;
    if (PROMPT.test(text)) prompted();
    if (size === known || !PROMPT.test(text) || !(shell === null || text.startsWith(shell))) return;
    if (shell === null) shell = text.slice(0, text.indexOf(":") + 1) || text;
    known = size;
    type(` stty ${size}\r`); // with the space, most shells leave it out of their history
  };
  const look = () => { clearTimeout(timer); timer = setTimeout(settle, SETTLED); };
  const listening = [terminal.onWriteParsed(look), terminal.onResize(look)];
  return {
    end: () => { clearTimeout(timer); listening.forEach((each) => each.dispose()); },
    begin: () => { known = ""; },
  };
};

/** Connect a terminal with a console; return what types into it, and what ends it. */
const connect = (terminal, query, say) => {
  const socket = socketOf(query);
  socket.binaryType = "arraybuffer";
  const text = new TextDecoder();
  let [shown, end, closed, notice, isRead, isClosed] = [0, "", "", "", true, false];
  const note = (bytes) => {
    shown += bytes;
    if (shown < TOLD_EACH || socket.readyState !== WebSocket.OPEN) return;
    socket.send(String(shown));
    shown = 0;
  };
  const show = (frame) => {
    const [kind, content] = [String.fromCharCode(frame[0]), frame.subarray(HEAD)];
    if (kind === "o") terminal.write(content, () => note(frame.length));
    else {
      note(frame.length);
      if (kind === "e") end = text.decode(content);
      else if (kind === "c") closed = text.decode(content);
      else {
        isRead = false;
        say(notice = text.decode(content));
        isClosed ||= notice.endsWith(ANOTHER);
      }
    }
  };
  let early = ""; // what is typed before there is a connection
  const type = (data) => {
    if (socket.readyState === WebSocket.CONNECTING) early = (early + data).slice(0, MOST_EARLY);
    if (socket.readyState !== WebSocket.OPEN) return;
    const bytes = new TextEncoder().encode(data);
    for (let at = 0; at < bytes.length; at += LONGEST) socket.send(bytes.slice(at, at + LONGEST));
  };
  /** Show who is logged in here now: the master closes the terminal of who is not any more. */
  const showWho = async () => {
    const answer = await fetch(`${PLUGIN}/pass`, { credentials: "same-origin" });
    const { pass } = await answer.json();
    if (socket.readyState === WebSocket.OPEN) socket.send(pass);
  };
  const tellSize = () => {
    if (socket.readyState === WebSocket.OPEN) socket.send(`${terminal.cols}x${terminal.rows}`);
  };
  socket.onopen = () => { say(WAITING); tellSize(); type(`\r${early}`); };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") showWho().catch(() => {}); // the next question comes soon
    else show(new Uint8Array(data));
  };
  socket.onclose = ({ code }) => {
    if (end) say(`The VM is gone: ${end}.`);
    else if (closed) say(`The terminal is closed: ${closed}.`);
    else if (code === BY_MASTER && notice) say(`The terminal is closed: ${notice}.`);
    else say("There is no connection. The VM is gone, or its master does not run.");
  };
  /** Say what is the case at a prompt; a notice stays until the user types again. */
  const prompted = () => say((said) => (
    said === WAITING || (isRead && said === notice) ? "Connected." : said));
  const typed = (data) => {
    if (isClosed && data.includes("\r")) {
      isClosed = false;
      size.begin();
    }
    isRead = true;
    type(data);
  };
  const listening = [terminal.onData(typed), terminal.onResize(tellSize)];
  const size = followSize(terminal, type, prompted);
  const leave = () => {
    socket.onclose = null;
    size.end();
    listening.forEach((each) => each.dispose());
    socket.close();
  };
  return { type, leave };
};

/** Whether a key leaves the terminal, which gets all others: also Tab, by which one leaves elements. */
const leaves = (event) => event.type === "keydown" && event.ctrlKey
  && (event.key === "]" || event.code === "BracketRight");

export const TerminalPage = () => {
  const [params] = useSearchParams();
  const box = useRef(null);
  const open = useRef(null);
  const after = useRef(null);
  const howToLeave = useId();
  const [said, say] = useState("Connecting…");
  const [size, setSize] = useState("");
  const [isRefused, setRefused] = useState(false);
  const [pool, vm] = [params.get("pool") || "", params.get("vm") || ""];
  const title = useTitle(pool, vm);
  const query = String(new URLSearchParams({ pool, vm }));
  useEffect(() => {
    let leave = () => {};
    let over = false;
    style();
    setRefused(false);
    Promise.all([import("./xterm/xterm.js"), import("./xterm/addon-fit.js"), refusal(query)]).then(
      ([{ Terminal }, { FitAddon }, why]) => {
        if (over) return;
        if (why) {
          setRefused(true);
          say(`There is no terminal: ${why}.`);
          return;
        }
        const terminal = new Terminal({ scrollback: 5000, screenReaderMode: true });
        const fit = new FitAddon();
        terminal.loadAddon(fit);
        terminal.attachCustomKeyEventHandler((event) => {
          if (!leaves(event)) return true;
          event.preventDefault();
          after.current.focus();
          return false;
        });
        terminal.open(box.current);
        terminal.textarea.setAttribute("aria-describedby", howToLeave);
        terminal.focus();
        const refit = () => { fit.fit(); setSize(`${terminal.cols} × ${terminal.rows}`); };
        refit();
        const watching = new ResizeObserver(refit);
        watching.observe(box.current);
        const connected = connect(terminal, query, say);
        open.current = { terminal, ...connected };
        leave = () => {
          open.current = null;
          watching.disconnect();
          connected.leave();
          terminal.dispose();
        };
      });
    return () => { over = true; leave(); };
  }, [query]);
  return h("div", { className: "container ll-page" },
    h("h1", null, `Terminal of ${title || `VM ${vm}`}`),
    title && h("p", null, `VM ${vm}`),
    h("p", { role: "status" }, said),
    h("div", { ref: box, className: "ll-terminal", hidden: isRefused }),
    h("p", { hidden: isRefused }, h("button", {
      type: "button",
      ref: after,
      className: "btn btn-default btn-outline-secondary",
      onClick: () => {
        const { terminal, type } = open.current || {};
        if (terminal) {
          type(` stty rows ${terminal.rows} cols ${terminal.cols}\r`);
          terminal.focus();
        }
      },
    }, "Tell the shell its size"), size ? ` ${size}. ` : " ",
    h("span", { id: howToLeave }, "Ctrl-] moves the focus out of the terminal.")),
    h("p", { hidden: isRefused }, "All terminals of a VM share its shell. Leaving this page closes the "
      + "shell for all, and so does Ctrl-] in latent-libvirt shell. Enter opens another one."),
    h("p", null, h("a", { href: `#/vms?vm=${encodeURIComponent(vm)}` }, "VMs")));
};
