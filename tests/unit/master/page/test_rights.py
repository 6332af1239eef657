# SPDX-License-Identifier: GPL-2.0-only
"""Who may do what on the page: what rules of Buildbot's allow, and that nothing else is allowed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.data.exceptions import InvalidPathError
from buildbot.plugins import util
from buildbot.www.auth import NoAuth
from buildbot.www.authz.authz import Authz, Forbidden
from twisted.internet.defer import Deferred

from latent_libvirt.master.page import rights
from latent_libvirt.master.page.rights import ACTIONS, PoolEndpointMatcher

OPERATOR = {"username": "olga"}
OTHER = {"username": "otto"}
NOBODY = {"anonymous": True}


def _no_endpoint(path: object) -> None:
    """Say what Buildbot's data API says of the page's endpoint."""
    raise InvalidPathError(str(path))


class Www:
    """Buildbot's web server, as far as rights go: its own rules, and one user."""

    def __init__(self, user: dict[str, Any], *rules: Any) -> None:
        roles = [util.RolesFromUsername(roles=["operators"], usernames=["olga"])]
        self.authz = Authz(allowRules=list(rules), roleMatchers=roles)
        self.authz.setMaster(SimpleNamespace(data=SimpleNamespace(getEndpoint=_no_endpoint)))
        self._user = user

    def getUserInfos(self, _request: object) -> dict[str, Any]:  # noqa: N802 - Buildbot's
        return self._user

    def assertUserAllowed(self, _request: object, *what: Any) -> Any:  # noqa: N802 - Buildbot's
        return self.authz.assertUserAllowed(*what, self._user)


def allowed(www: Www, pool: str = "main") -> list[str]:
    found: list[list[str]] = []
    Deferred.fromCoroutine(rights.allowed(www, None, pool)).addCallback(found.append)
    return found[0]


@pytest.mark.parametrize("user", [OPERATOR, OTHER, NOBODY])
def test_without_a_rule_nobody_may_do_anything(user: dict[str, Any]) -> None:
    assert allowed(Www(user)) == []
    assert allowed(Www(user, util.StopBuildEndpointMatcher(role="operators"))) == []


@pytest.mark.parametrize(
    "rule",
    [
        lambda: PoolEndpointMatcher(role="operators"),
        lambda: util.AnyControlEndpointMatcher(role="operators"),
        lambda: util.AnyEndpointMatcher(role="operators"),
    ],
)
def test_a_rule_allows_its_role_everything_and_others_nothing(rule: Any) -> None:
    assert allowed(Www(OPERATOR, rule())) == list(ACTIONS)
    assert allowed(Www(OTHER, rule())) == []
    assert allowed(Www(NOBODY, rule())) == []


def test_a_rule_may_be_for_one_action_and_for_some_pools() -> None:
    www = Www(OPERATOR, PoolEndpointMatcher(role="operators", action="*drain", pool="main*"))

    assert allowed(www, "main-2") == ["drain", "undrain"]
    assert allowed(www, "other") == []


def test_who_may_hold_may_take_that_back() -> None:
    www = Www(OPERATOR, PoolEndpointMatcher(role="operators", action="hold"))

    assert allowed(www) == [rights.action_of("cancel_hold")] == ["hold"]
    assert rights.action_of("cancel_thaw") == "thaw"
    assert [rights.action_of(action) for action in ACTIONS] == list(ACTIONS)


def test_a_rule_before_it_that_denies_wins() -> None:
    www = Www(
        OPERATOR,
        PoolEndpointMatcher(role="owners", action="end"),
        PoolEndpointMatcher(role="operators"),
    )

    assert allowed(www) == [action for action in ACTIONS if action != "end"]


def test_a_rule_for_actions_hides_the_page_from_nobody() -> None:
    www = Www(NOBODY, PoolEndpointMatcher(role="operators"))

    assert Deferred.fromCoroutine(rights.check_read(www, None)).called


def test_a_rule_for_everything_hides_the_page_too() -> None:
    www = Www(NOBODY, util.AnyEndpointMatcher(role="operators"))
    failed: list[Any] = []

    Deferred.fromCoroutine(rights.check_read(www, None)).addErrback(failed.append)

    assert isinstance(failed[0].value, Forbidden)


def refused(www: Any, action: str = "terminal") -> str:
    """Return why a user may not do that in pool main."""
    failed: list[Any] = []
    Deferred.fromCoroutine(rights.check(www, None, "main", action)).addErrback(failed.append)
    return rights.forbidden(failed[0].value)


def test_a_refusal_says_which_right_is_missing() -> None:
    elsewhere = PoolEndpointMatcher(role="guards", pool="other")
    www = Www(OTHER, PoolEndpointMatcher(role="operators"), elsewhere)

    why = refused(www)

    assert 'user otto lacks the action "terminal" in pool main' in why
    assert "need to have role 'operators'" in why
    assert why.endswith("The configuration gives it to: operators")


def test_a_refusal_for_want_of_a_rule_shows_one() -> None:
    why = refused(Www(OTHER), "end")

    assert 'the action "end"' in why
    assert why.endswith('no rule for it, like util.PoolEndpointMatcher(role=..., action="end")')


def test_a_refusal_says_that_nobody_is_logged_in_and_whether_anybody_can() -> None:
    www: Any = Www(NOBODY)

    assert "nobody is logged in" in refused(www)

    www.auth = util.UserPasswordAuth({"olga": "pw"})
    assert 'Log in by "Login"' in refused(www)

    www.auth = NoAuth()
    assert 'has no "auth"' in refused(www)
