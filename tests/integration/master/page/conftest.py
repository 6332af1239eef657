# SPDX-License-Identifier: GPL-2.0-only
"""The master of the tests of the page: everybody may look, and users have different rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulated_master import SimulatedMaster

USERS = """
c["www"]["auth"] = util.UserPasswordAuth({"admin": "pw", "ops": "pw", "dev": "pw"})
c["www"]["authz"] = util.Authz(
    allowRules=[
        util.PoolEndpointMatcher(role="operators", action="*drain"),
        util.AnyControlEndpointMatcher(role="admins", defaultDeny=False),
    ],
    roleMatchers=[
        util.RolesFromUsername(roles=["admins", "operators"], usernames=["admin"]),
        util.RolesFromUsername(roles=["operators"], usernames=["ops"]),
    ],
)
class Fails(BuildStep):
    name = "compile"
    async def run(self):
        output = await self.addLog("stdio")
        for number in range(100):
            output.addStdout(f"line {number}\\n")
        await output.finish()
        return 2

factory = util.BuildFactory([Fails()])
names = pool.worker_names("large")
c["builders"].append(util.BuilderConfig("fails", workernames=names, factory=factory))
c["schedulers"].append(schedulers.ForceScheduler(name="fail", builderNames=["fails"]))
c["services"].append(util.JobApi(tokens="tokens.json"))
c["www"]["plugins"]["jobs"] = {}
"""


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedMaster]:
    """Give a master whose builds run until the test lets them go."""
    directory = tmp_path_factory.mktemp("page") / "master"
    with SimulatedMaster(directory, more=USERS) as master:
        yield master
