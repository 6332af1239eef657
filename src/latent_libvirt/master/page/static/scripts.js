// SPDX-License-Identifier: GPL-2.0-only
// The start of the page "VMs" in Buildbot's web UI.
//
// Buildbot's UI has React, its router and its WebSocket on `window`, so there is nothing to build.
// It loads this file as a plain script, and plain scripts cannot import modules in advance.
import("./page.js");
