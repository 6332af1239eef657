# SPDX-License-Identifier: GPL-2.0-only
"""Guard of the port that workers connect to. Guests reach it, and one guest may be hostile.

Buildbot 4.3 accepts any number of connections there, and waits for their logins for ever. Here is
one small wrapper around Buildbot's own factory. Before its login, a connection has a deadline, may
send 1 KiB, and is one of few. After it, one message has a bound. The number of messages has none.
"""
