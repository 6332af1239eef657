# SPDX-License-Identifier: GPL-2.0-only
"""Parts of a stressed master's configuration, which the ``.cfg`` files beside ``__init__.py`` join.

The masters themselves are configured as the manual says. What is here adds builders, simulated
hosts, and measurements that only the process itself can make.
"""
