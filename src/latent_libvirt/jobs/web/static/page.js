// SPDX-License-Identifier: GPL-2.0-only
// The pages "Jobs" and of one job, in the menu and among the routes of Buildbot's web UI.
import { JobPage } from "./job.js";
import { ListPage } from "./list.js";

const { createElement: h } = window.React;
const { useParams } = window.ReactRouterDOM;

const Icon = () => h("svg", {
  viewBox: "0 0 16 16", width: "1em", height: "1em", fill: "currentColor", "aria-hidden": true,
}, h("path", { d: "M1 2h3v3H1zM6 3h9v1H6zM1 7h3v3H1zM6 8h9v1H6zM1 12h3v3H1zM6 13h9v1H6z" }));

/** The page of the job in the address; another job is another page. */
const JobRoute = () => {
  const { uuid } = useParams();
  return h(JobPage, { key: uuid, uuid });
};

window.BuildbotPluginSupport.buildbotSetupPlugin((registration) => {
  registration.registerMenuGroup({
    name: "latent_libvirt_jobs", parentName: null, caption: "Jobs", icon: h(Icon), order: 11,
    route: "/jobs",
  });
  const group = "latent_libvirt_jobs";
  registration.registerRoute({ route: "/jobs", group, element: () => h(ListPage) });
  registration.registerRoute({ route: "/jobs/:uuid", group, element: () => h(JobRoute) });
});
