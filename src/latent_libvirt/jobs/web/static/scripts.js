// SPDX-License-Identifier: GPL-2.0-only
// The start of the page "Jobs" in Buildbot's web UI, which loads this file as a plain script.
import("./page.js");
