// SPDX-License-Identifier: GPL-2.0-only
// Long tables: the first rows, a filter over all rows, and buttons that show more of them.
//
// A browser needed 400 MB for 3,000 rows, and needs 90 MB for the first 100 of two tables.
// A table that is not long has none of this.
import { Table } from "./elements.js";

const {
  createContext, createElement: h, Fragment, useCallback, useContext, useEffect, useId,
  useLayoutEffect, useMemo, useRef, useState,
} = window.React;

export const STEP = 100; // rows that there are at first, and that a click adds

const wordsOf = (filter) => filter.toLowerCase().split(/\s+/).filter(Boolean);

/** The rows that have all words of the filter somewhere in their texts. */
const matching = (rows, filter, texts) => {
  const words = wordsOf(filter);
  if (!words.length) return rows;
  return rows.filter((row) => {
    const text = texts(row).join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
};

/** The first rows, and the one that a link leads to wherever it is. */
const windowed = (rows, limit, isMarked) => {
  const at = rows.findIndex(isMarked);
  return at < limit ? rows.slice(0, limit) : [...rows.slice(0, limit), rows[at]];
};

const counted = (count) => `${count} ${count === 1 ? "row matches" : "rows match"}`;

/** What a page looks for in all its tables, and where each says how many of its rows match. */
const Sought = createContext({ text: "", note: () => {} });

/**
 * A search field for all long tables among the children, which leaves out those without a match.
 *
 * @param marked  what a link leads to. It ends the search, which may hide that.
 */
export const Find = ({ marked, children }) => {
  const [text, setText] = useState("");
  const [total, setTotal] = useState(0);
  const [lastMarked, setLastMarked] = useState(marked);
  const counts = useRef(new Map());
  const note = useCallback((table, count) => {
    if (count) counts.current.set(table, count);
    else counts.current.delete(table);
    setTotal([...counts.current.values()].reduce((all, each) => all + each, 0));
  }, []);
  const sought = useMemo(() => ({ text, note }), [text, note]);
  if (lastMarked !== marked) {
    setLastMarked(marked);
    setText("");
  }
  return h(Sought.Provider, { value: sought },
    h("p", { className: "ll-filter", role: "search" },
      h("label", null, "Find ", h("input", {
        type: "search", value: text, maxLength: 200, "aria-label": "Find in all tables",
        onChange: (event) => setText(event.target.value),
      })), " ",
      h("span", { "aria-live": "polite" }, wordsOf(text).length > 0 && `${counted(total)}.`)),
    children);
};

const sum = (shown, found, all, filter) => {
  if (!wordsOf(filter).length) return `${shown} of ${all} rows are shown.`;
  return `${found} of ${all} rows match.${shown < found ? ` ${shown} of them are shown.` : ""}`;
};

const Filter = ({ caption, value, change }) => h("label", null, "Filter ",
  h("input", {
    type: "search", value, maxLength: 200, "aria-label": `Filter ${caption}`,
    onChange: (event) => change(event.target.value),
  }));

const Button = ({ text, caption, onClick }) => h("button", {
  type: "button", className: "btn btn-outline-secondary btn-sm", "aria-label": `${text} of ${caption}`,
  onClick,
}, text);

const More = ({ caption, left, all, add }) => h("p", { className: "ll-more" },
  left > STEP && h(Button, { text: `Show ${STEP} more`, caption, onClick: () => add(STEP) }), " ",
  h(Button, { text: `Show all ${all}`, caption, onClick: () => add(Infinity) }));

/** How many rows are shown. The first one that was added has the focus, to read on from there. */
const useLimit = (table) => {
  const [limit, setLimit] = useState(STEP);
  const added = useRef(null);
  useEffect(() => {
    const row = added.current === null ? null : table.current.tBodies[0].rows[added.current];
    added.current = null;
    if (!row) return;
    row.tabIndex = -1;
    row.focus();
  }, [limit]);
  const add = (count) => {
    added.current = limit;
    setLimit(limit + count);
  };
  return [limit, add, () => setLimit(STEP)];
};

/**
 * A table of rows, of which there may be thousands.
 *
 * @param texts  returns what the filter looks at in a row.
 * @param marked  what a link leads to. It ends the filter, which may hide that.
 * @param row  returns the element of a row.
 * @param hints  what columns mean, by their names.
 */
export const LongTable = ({
  caption, columns, hints, rows, texts, row, marked = null, isMarked = () => false,
}) => {
  const table = useRef(null);
  const id = useId();
  const [filter, setFilter] = useState("");
  const [said, setSaid] = useState("");
  const [limit, add, shorten] = useLimit(table);
  const [lastMarked, setLastMarked] = useState(marked);
  if (lastMarked !== marked) {
    setLastMarked(marked);
    setFilter("");
  }
  const { text: sought, note } = useContext(Sought);
  const isSought = wordsOf(sought).length > 0;
  const among = useMemo(() => matching(rows, sought, texts), [rows, sought]);
  const found = useMemo(() => matching(among, filter, texts), [among, filter]);
  useLayoutEffect(() => { // else no row matches for a moment
    note(id, isSought ? among.length : 0);
    return () => note(id, 0);
  }, [among.length, isSought]);
  const shown = windowed(found, limit, isMarked);
  const isLong = among.length > STEP || filter !== "";
  const change = (value) => {
    const count = matching(among, value, texts).length;
    shorten();
    setFilter(value);
    setSaid(sum(Math.min(count, STEP), count, among.length, value));
  };
  const more = (count) => {
    add(count);
    setSaid(sum(Math.min(found.length, limit + count), found.length, among.length, filter));
  };
  const left = found.length - shown.length;
  if (isSought && !among.length) return null;
  return h(Fragment, null,
    isLong && h("p", { className: "ll-filter" },
      h(Filter, { caption, value: filter, change }), " ",
      h("span", { id }, sum(shown.length, found.length, among.length, filter)),
      h("span", { className: "ll-unseen", "aria-live": "polite" }, said)),
    h(Table, {
      caption, columns, hints, element: table, describedBy: isLong ? id : undefined,
    }, shown.map(row)),
    left > 0 && h(More, { caption, left, all: found.length, add: more }));
};
