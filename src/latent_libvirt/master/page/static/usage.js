// SPDX-License-Identifier: GPL-2.0-only
// What builds have used: asked for when somebody opens it, and not again until something is chosen.
import { PLUGIN } from "./pools.js";
import { Row, Table, Words } from "./ui/elements.js";
import { bytes, duration } from "./ui/words.js";

const { createElement: h, Fragment, memo, useLayoutEffect, useState } = window.React;

const BY = [["builder", "Builder"], ["label", "Label"], ["host", "Host"]];
const SINCE = [["1", "the last day"], ["7", "the last 7 days"], ["30", "the last 30 days"]];
const COLUMNS = [
  ["Builds", (row) => row.builds],
  ["Time", (row) => duration(row.seconds)],
  ["CPU", (row) => duration(row.cpu_seconds)],
  ["vCPUs", (row) => duration(row.vcpu_seconds)],
  ["Memory", (row) => `${bytes(row.memory_seconds / 3600)} h`],
  ["Peak", (row) => bytes(row.peak_memory)],
  ["Read", (row) => bytes(row.read)],
  ["Written", (row) => bytes(row.written)],
  ["Received", (row) => bytes(row.received)],
  ["Sent", (row) => bytes(row.sent)],
];

const asked = async (by, days) => {
  const query = new URLSearchParams({ by, days });
  const answer = await fetch(`${PLUGIN}/usage?${query}`, { credentials: "same-origin" });
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.error);
  return document;
};

/** What was chosen, as the master answers; nothing until it does. */
const useReport = (isOpen, by, days) => {
  const [found, setFound] = useState(null);
  const [trouble, setTrouble] = useState("");
  useLayoutEffect(() => { // else the sums of one choice are painted below the heads of another
    let over = false;
    if (!isOpen) return undefined;
    setFound(null);
    setTrouble("");
    asked(by, days).then(
      (report) => { if (!over) setFound(report); },
      (error) => { if (!over) setTrouble(error.message); });
    return () => { over = true; };
  }, [isOpen, by, days]);
  return [found, trouble];
};

const Choice = ({ name, options, value, choose }) => h("label", null, `${name} `, h("select", {
  value, onChange: (event) => choose(event.target.value),
}, options.map(([key, text]) => h("option", { key, value: key }, text))), " ");

const Sums = ({ report, head }) => {
  const columns = [head, ...COLUMNS.map(([name]) => name)];
  return h(Fragment, null,
    h("ul", null, report.advice.map((text) =>
      h("li", { key: text }, h(Words, { words: [["odd", text]] })))),
    h(Table, { caption: "Used by builds", columns }, report.sums.map((row) => h(Row, {
      key: row.name, columns, head: row.name, cells: COLUMNS.map(([, text]) => text(row)),
    }))),
    h("p", null, "Peak is the most memory that the QEMU process of a VM had in use. The guest's memory is in it, "
      + "and QEMU's, so it can be more than the VM was given."),
    report.left_out > 0 && h("p", null, `${report.left_out} more used less.`));
};

export const Usage = memo(() => {
  const [isOpen, setOpen] = useState(false);
  const [by, setBy] = useState("builder");
  const [days, setDays] = useState("30");
  const [report, trouble] = useReport(isOpen, by, days);
  const [, head] = BY.find(([key]) => key === by);
  return h("details", {
    className: "ll-usage", onToggle: (event) => setOpen(event.currentTarget.open),
  }, h("summary", null, "What builds have used"),
  h("p", null,
    h(Choice, { name: "By", options: BY, value: by, choose: setBy }),
    h(Choice, { name: "in", options: SINCE, value: days, choose: setDays })),
  trouble && h("p", { className: "alert alert-danger" }, trouble),
  isOpen && !report && !trouble && h("p", null, "Loading…"),
  report && !report.sums.length && h("p", null, "No build of that time has a record of what it used."),
  report && report.sums.length > 0 && h(Sums, { report, head }));
});
