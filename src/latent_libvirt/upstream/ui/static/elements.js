// SPDX-License-Identifier: GPL-2.0-only
// Elements of pages: ages, moments, tables.
//
// Texts of guests, hosts and clients become text nodes, and never markup.
import { duration, local, now } from "./words.js";

const { createElement: h, Fragment, memo, useEffect, useLayoutEffect, useRef } = window.React;

// Ages are written once a second straight into their elements: React has nothing to do then.

const ageText = (since, until) =>
  until ? duration(until - now()) : since ? duration(now() - since) : "";

const ages = new Set();
setInterval(() => { if (!document.hidden) for (const write of ages) write(); }, 1000);

export const Age = memo(({ since, until }) => {
  const element = useRef(null);
  useLayoutEffect(() => { // before the row is painted, so that no age is ever empty
    const write = () => { element.current.textContent = ageText(since, until); };
    write();
    ages.add(write);
    return () => ages.delete(write);
  }, [since, until]);
  return h("span", { ref: element, className: "ll-age" });
});

export const Moment = ({ at }) => h("time", { dateTime: new Date(at * 1000).toISOString() },
  new Date(at * 1000).toLocaleString());

// Tables.

// On a phone, styles.css makes a card of each row. The roles keep it a table for screen readers.

/**
 * @param hints  what columns mean, by their names.
 */
export const Table = ({ caption, columns, hints = {}, element, describedBy, children }) =>
  h("table", {
    className: "table table-sm ll-table", role: "table", ref: element, "aria-describedby": describedBy,
  },
    h("caption", null, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((name) =>
      h("th", { key: name, scope: "col", role: "columnheader", title: hints[name] }, name)))),
    h("tbody", { role: "rowgroup" }, children));

export const Row = ({ head, cells, columns, id, isMarked }) =>
  h("tr", { id, className: isMarked ? "ll-marked" : undefined, role: "row" },
    h("th", { scope: "row", role: "rowheader" }, head),
    cells.map((cell, at) =>
      h("td", { key: columns[at + 1], role: "cell", "data-column": columns[at + 1] }, cell)));

export const Words = ({ words }) => words.map(([kind, text], at) =>
  h(Fragment, { key: at }, at > 0 && "; ", h("span", { className: `ll-${kind}` }, text)));

export const Build = ({ job }) => job
  ? h("a", { href: local(job.url) || undefined }, `${job.builder} #${job.number}`) : null;
