// SPDX-License-Identifier: GPL-2.0-only
// The page of a screen: what a VM shows, while somebody looks.
import { PLUGIN, useTitle } from "./pools.js";
import { Moment } from "./ui/elements.js";

const { createElement: h, useEffect, useState } = window.React;
const { useSearchParams } = window.ReactRouterDOM;

const EVERY = 5000; // milliseconds between two pictures

const FORBIDDEN = 403;

/** Statuses after which there will be no further picture, and what they mean. */
const ENDS = { [FORBIDDEN]: "You may not see this screen", 404: "There is no screen any more" };

const picture = async (query) => {
  const answer = await fetch(`${PLUGIN}/screen?${query}`, { credentials: "same-origin" });
  if (answer.ok) return URL.createObjectURL(await answer.blob());
  const why = (await answer.json()).error;
  const end = ENDS[answer.status];
  throw Object.assign(
    new Error(`${end || "There is no new picture"}: ${why}.`),
    { isEnd: !!end, status: answer.status });
};

export const ScreenPage = () => {
  const [params] = useSearchParams();
  const [shown, setShown] = useState(null);
  const [trouble, setTrouble] = useState("");
  const vm = params.get("vm") || "";
  const pool = params.get("pool") || "";
  const title = useTitle(pool, vm);
  const query = String(new URLSearchParams({ pool, vm }));
  useEffect(() => {
    let [over, timer, last] = [false, 0, ""];
    const again = () => { timer = setTimeout(look, EVERY); };
    const show = (url) => {
      if (over) { URL.revokeObjectURL(url); return; }
      URL.revokeObjectURL(last);
      last = url;
      setTrouble("");
      setShown({ url, at: Date.now() / 1000 });
    };
    const look = () => {
      if (document.hidden) { again(); return; }
      picture(query).then(show, (error) => {
        if (!over) setTrouble(error.message);
        if (!over && error.status === FORBIDDEN) setShown(null);
        over ||= error.isEnd;
      }).finally(() => { if (!over) again(); });
    };
    look();
    return () => { over = true; clearTimeout(timer); URL.revokeObjectURL(last); };
  }, [query]);
  return h("div", { className: "container ll-page" },
    h("h1", null, `Screen of ${title || `VM ${vm}`}`),
    title && h("p", null, `VM ${vm}`),
    h("p", { role: "status" }, trouble || (shown ? "" : "Loading…")),
    shown && h("figure", null,
      h("img", { src: shown.url, alt: `The screen of ${title || `VM ${vm}`}`, className: "ll-screen" }),
      h("figcaption", null, "Taken ", h(Moment, { at: shown.at }), ".")),
    h("p", null, h("a", { href: `#/vms?vm=${encodeURIComponent(vm)}` }, "VMs")));
};
