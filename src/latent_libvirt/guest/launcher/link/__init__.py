# SPDX-License-Identifier: GPL-2.0-only
"""Link: messages of connections through a channel that may be cut and opened again.

A virtio-serial channel loses what is under way when libvirtd ends or its client closes the stream.
So each message has a number, the sender keeps it until the other end has acknowledged it, and
sends it again after a cut. The master's end opens the channel, says ``HELLO`` with the number of
messages that it has, and hears ``WELCOME`` with the guest's number. Nothing is lost or doubled.

Each end has a window, in bytes and in messages, for what it may send without an acknowledgement.
The master's end trusts nobody. It fails on a guest that sends more, or anything that is no frame.
Its own messages carry a random cookie, and an acknowledgement has to name it: a guest that does
not read cannot claim that it does.

``frames.py``, ``decoder.py``, ``outgoing.py``, ``end.py`` and ``transport.py`` serve both ends. The
master's is in ``guest/master_link.py``, which no image has.
"""
