// SPDX-License-Identifier: GPL-2.0-only
// The page of a screen: what a VM shows, while somebody looks.
import { PLUGIN } from "./pools.js";
import { Moment } from "./ui/elements.js";

const { createElement: h, useEffect, useState } = window.React;
const { useSearchParams } = window.ReactRouterDOM;

const EVERY = 5000; // milliseconds between two pictures

const picture = async (query) => {
  const answer = await fetch(`${PLUGIN}/screen?${query}`, { credentials: "same-origin" });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return URL.createObjectURL(await answer.blob());
};

export const ScreenPage = () => {
  const [params] = useSearchParams();
  const [shown, setShown] = useState(null);
  const [trouble, setTrouble] = useState("");
  const vm = params.get("vm") || "";
  const query = String(new URLSearchParams({ pool: params.get("pool") || "", vm }));
  useEffect(() => {
    let [over, timer, last] = [false, 0, ""];
    const again = () => { timer = setTimeout(look, EVERY); };
    const show = (url) => {
      URL.revokeObjectURL(last);
      last = url;
      setTrouble("");
      setShown({ url, at: Date.now() / 1000 });
    };
    const look = () => {
      if (document.hidden) { again(); return; }
      picture(query).then((url) => { if (!over) show(url); }, (error) => {
        if (!over) setTrouble(error.message);
      }).finally(() => { if (!over) again(); });
    };
    look();
    return () => { over = true; clearTimeout(timer); URL.revokeObjectURL(last); };
  }, [query]);
  return h("div", { className: "container ll-page" },
    h("h1", null, "Screen"),
    h("p", { role: "status" }, trouble ? `There is no new picture: ${trouble}` : null,
      !trouble && !shown ? "Loading…" : null),
    shown && h("figure", null,
      h("img", { src: shown.url, alt: `The screen of VM ${vm}`, className: "ll-screen" }),
      h("figcaption", null, "Taken ", h(Moment, { at: shown.at }), ".")),
    h("p", null, h("a", { href: `#/vms?vm=${encodeURIComponent(vm)}` }, "VMs")));
};
