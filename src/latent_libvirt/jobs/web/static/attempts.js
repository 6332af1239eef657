// SPDX-License-Identifier: GPL-2.0-only
// Attempts of a job on lines of the same time: waiting, the phases of each VM's start, building.
import { seconds } from "./states.js";
import { Legend, Part } from "./ui/phases.js";
import { duration, now, phaseDuration } from "./ui/words.js";

const { createElement: h, useEffect, useState } = window.React;

/** The phases of a VM that starts: the last one goes on, unless its time is known. */
const phasesSoFar = (phases, whole) => {
  if (phases.length && phases[phases.length - 1][1] > 0) return phases;
  const over = phases.slice(0, -1);
  const rest = whole - over.reduce((sum, [, each]) => sum + each, 0);
  return [...over, ...phases.slice(-1).map(([phase]) => [phase, Math.max(0, rest)])];
};

/** The parts of an attempt: phase, from when, for how long. */
export const partsOf = (attempt, until) => {
  const [began, ready] = [seconds(attempt.started_at), seconds(attempt.ready_at)];
  const end = seconds(attempt.finished_at) ?? until;
  const started = ready ?? end;
  const noted = Object.entries(attempt.phases);
  const phases = ready === null ? phasesSoFar(noted, started - began) : noted;
  const known = phases.reduce((sum, [, each]) => sum + each, 0);
  // Buildbot's moments are whole seconds, and the phases are not.
  const scale = known > 0 ? (started - began) / known : 0;
  let from = began;
  const parts = phases.map(([phase, each]) => {
    const part = { phase, from, width: each * scale, seconds: each };
    from += part.width;
    return part;
  });
  if (!phases.length) {
    parts.push({ phase: "prepare", from: began, width: started - began, seconds: started - began });
  }
  if (ready !== null) {
    parts.push({ phase: "build", from: ready, width: end - ready, seconds: end - ready });
  }
  return parts;
};

const Line = ({ attempt, from, whole, until }) => {
  const parts = partsOf(attempt, until);
  const words = parts.map((part) => `${part.phase} ${phaseDuration(part.seconds)}`).join(", ");
  return h("div", { className: "ll-slot" },
    h("span", { className: "ll-slot-name" }, `Attempt ${attempt.number}`),
    h("span", { className: "ll-slot-line", role: "img",
      "aria-label": `Attempt ${attempt.number}: ${words}` },
    parts.map((part, at) => h(Part, {
      key: at, phase: part.phase, from: part.from - from, seconds: part.width, whole,
    }))),
    h("span", { className: "ll-slot-words" }, words));
};

/** All attempts, from when the job was accepted until its end, or now. */
export const AttemptLines = ({ job }) => {
  const finished = seconds(job.finished_at);
  const [current, setCurrent] = useState(now());
  useEffect(() => {
    if (finished !== null) return undefined;
    const timer = setInterval(() => { if (!document.hidden) setCurrent(now()); }, 1000);
    return () => clearInterval(timer);
  }, [finished]);
  if (!job.attempts.length) return null;
  const from = seconds(job.accepted_at);
  const until = finished ?? Math.max(current, from + 1);
  const whole = Math.max(1, until - from);
  return h("section", { "aria-label": "Attempts", className: "ll-attempts" },
    h("h2", null, "Attempts"),
    h("p", null, `${duration(whole)} from the moment it was accepted`),
    h(Legend),
    job.attempts.map((attempt) =>
      h(Line, { key: attempt.number, attempt, from, whole, until })));
};
