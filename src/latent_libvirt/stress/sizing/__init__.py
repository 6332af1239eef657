# SPDX-License-Identifier: GPL-2.0-only
"""Sizing: how many masters, slots, hosts and database cores a load needs, by a linear model.

Each thing that a load consists of, such as a build or a line of a log, costs each part of a
deployment some processor time (``costs.py``). The sum over a load's things is what the part uses.
Slots follow from Little's law and Erlang's formula (``waiting.py``). ``observed.py`` and
``check.py`` compare the model with runs of the stress harness.
"""
