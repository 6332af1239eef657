# SPDX-License-Identifier: GPL-2.0-only
# What people type; each target brings what it needs (see bootstrap).

PYTHON ?= python3
TOX = .venv/bin/tox

.PHONY: help bootstrap bootstrap-tests demo multimaster stress plan-check test unit integration lint test-long soak bench bench-start bench-at-once bench-burst bench-live-edit bench-decision bench-blocked bench-attacks bench-growth bench-multimaster bench-plan-costs bench-channel bench-floods bench-hardware bench-freeze bench-usage bench-compare bench-page docs docs-pictures clean

help:
	@echo 'make demo        run real work in clean VMs on this machine, from nothing; prints where'
	@echo '                 the time went. KEEP=1 keeps the master and its web UI until Ctrl-C.'
	@echo 'make multimaster  three masters, many jobs in VMs, one master killed: nothing may be lost.'
	@echo '                 JOBS=40. Ends with a line of JSON.'
	@echo 'make stress      a mass rebuild and readers on simulated hosts: which resource is saturated?'
	@echo '                 PROFILE=small REPORT=DIR. Ends with a line of JSON.'
	@echo 'make plan-check  what the capacity model predicts for 10 interface masters and 2,000 slots'
	@echo '                 on this machine, and what was seen. 25 minutes at most, 4 GiB.'
	@echo 'make test        lint and all tests, with every suitable Python on PATH'
	@echo 'make unit        the quick tests only'
	@echo 'make integration the tests that start libvirtd and VMs'
	@echo 'make test-long   tests that take long: whole imports of cloud images, and each benchmark once.'
	@echo '                 TESTS=tests/long/test_canary.py'
	@echo 'make lint        style, types, layers, spelling, links'
	@echo 'make docs        the documentation as a site, in .cache/site, with new pictures'
	@echo 'make docs-pictures  renew the pictures that the repository has, from a real master'
	@echo 'make soak        a thousand jobs through several masters while everything is hurt, JOBS=1000;'
	@echo '                 and 10,000 pool.yaml files with something wrong'
	@echo 'make bench       what the life of a VM costs through Buildbot, against a bare script'
	@echo 'make bench-start  how long a VM takes to become a worker: resumed, spare, cold, at least'
	@echo 'make bench-at-once  many slots started at once, against bare restores. SLOTS=10'
	@echo 'make bench-burst  jobs per minute of a burst, against LibVirtWorker. JOBS=40 VMS=4 ...'
	@echo 'make bench-live-edit  seconds from a saved pool.yaml to the VM that it allows'
	@echo 'make bench-decision  what a decision costs, by hosts and by waiting requests, with a plot'
	@echo 'make bench-blocked  how long requests that cannot start delay one that can'
	@echo 'make bench-attacks  what attacks on the ports, the job API and the logs cost a master'
	@echo 'make bench-growth  how cost grows with distance, images, hosts, possible VMs, jobs and memory.'
	@echo '                 ROUNDS=5 ROWS="far_start memory". KSM=1 lets the kernel merge pages (root)'
	@echo 'make bench-multimaster  trivial builds a minute with one interface master and with two. JOBS=300'
	@echo 'make bench-plan-costs  the costs that come with `latent-libvirt plan`: seven runs and their fit'
	@echo 'make bench-hardware  how long VMs take to start with UEFI, Secure Boot, more disks, aarch64.'
	@echo '                 ROUNDS=3 WAYS="bios uefi"'
	@echo 'make bench-channel  what steps of builds carry, through a channel and by TCP. MB=24'
	@echo 'make bench-floods  what workers that flood their channels cost the others. VMS=12 FLOODS=3'
	@echo 'make bench-freeze  freezing, thawing and exporting a VM, against virsh. SIZES=512,2048 ROUNDS=5'
	@echo 'make bench-usage  what readings of 1,000 VMs and a sum of 100,000 builds cost. VMS=40 on a host'
	@echo 'make bench-page  what the page of VMs costs with 1,000 VMs and 20 open pages'
	@echo 'make bench-compare  our pool against LibVirtWorker, a bare script, autopkgtest and debvm.'
	@echo '                 ROUNDS=2 JOBS=4 VMS=2 RIVALS="bare resumed". Ends with a line of JSON.'
	@echo 'make bootstrap   only bring Debian packages and .venv; bootstrap-tests: what tests need, too'
	@echo 'make clean       remove .venv, .tox and caches; .cache (images) too with ALL=1'
	@echo 'PYTHON=python3.12 and the like choose the interpreter (3.11 or newer).'

bootstrap:
	@$(PYTHON) ./bootstrap

bootstrap-tests:
	@$(PYTHON) ./bootstrap tests

demo: bootstrap
	@.venv/bin/python deploy/demo/run.py $(if $(KEEP),--keep)

multimaster:
	@$(PYTHON) ./bootstrap multimaster
	@PYTHONPATH=deploy/demo .venv/bin/python deploy/multimaster/show.py $(if $(JOBS),--jobs $(JOBS))

stress:
	@$(PYTHON) ./bootstrap multimaster
	@.venv/bin/latent-libvirt stress $(or $(PROFILE),mass-rebuild) --cache .cache \
		--report $(or $(REPORT),.cache/stress/$(shell date +%Y-%m-%dT%H-%M-%S))

plan-check:
	@$(PYTHON) ./bootstrap multimaster
	@rm -rf .cache/plan-check
	@timeout 420 .venv/bin/latent-libvirt stress plan-costs --cache .cache --report .cache/plan-check/costs
	@timeout 900 .venv/bin/latent-libvirt stress plan-check --cache .cache --report .cache/plan-check/check
	@.venv/bin/latent-libvirt plan --figures .cache/plan-check/costs --check .cache/plan-check/check

test: bootstrap-tests
	@$(TOX) run

unit integration lint: bootstrap-tests
	@$(TOX) run -e $@

test-long:
	@$(PYTHON) ./bootstrap tests long
	@.venv/bin/python -m pytest -o faulthandler_timeout=14400 $(or $(TESTS),tests/long)

docs: bootstrap-tests
	@PYTHONPATH=tests/support .venv/bin/python docs/pictures.py --into .cache/pictures
	@$(TOX) run -e docs
	@echo "The site is in .cache/site. Open .cache/site/index.html in a browser."

docs-pictures: bootstrap-tests
	@PYTHONPATH=tests/support .venv/bin/python docs/pictures.py

soak: bootstrap-tests
	@.venv/bin/python -m pytest -rP --jobs $(or $(JOBS),1000) --rounds $(or $(ROUNDS),3) \
		--files 10000 tests/integration/multimaster/test_many_jobs.py \
		tests/integration/test_mutated_files.py

bench: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/vm_life.py $(if $(ROUNDS),--rounds $(ROUNDS))

bench-start: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/start.py $(if $(ROUNDS),--rounds $(ROUNDS))

bench-at-once: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/at_once.py $(if $(SLOTS),--slots $(SLOTS)) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

bench-burst: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/burst.py $(if $(JOBS),--jobs $(JOBS)) \
		$(if $(VMS),--vms $(VMS)) $(if $(SPARES),--spares $(SPARES)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(WAYS),--ways $(WAYS)) \
		$(if $(PLOT),--plot $(PLOT))

bench-live-edit: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/live_edit.py $(if $(ROUNDS),--rounds $(ROUNDS))

bench-decision: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/decision.py

bench-blocked: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/blocked.py

bench-attacks: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/attacks.py

bench-growth: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/growth.py $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(ROWS),--rows $(ROWS)) $(if $(KSM),--ksm)

bench-multimaster: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/multimaster.py $(if $(JOBS),--jobs $(JOBS)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SLOWED),--slowed)

bench-plan-costs:
	@$(PYTHON) ./bootstrap multimaster
	@.venv/bin/python bench/plan_costs.py $(if $(FIT),--fit $(FIT))

bench-hardware:
	@$(PYTHON) ./bootstrap tests long
	@PYTHONPATH=tests/support .venv/bin/python bench/hardware.py $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(WAYS),--ways $(WAYS))

bench-channel: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/channel.py $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(MB),--mb $(MB))

bench-floods: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/floods.py $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(VMS),--vms $(VMS)) $(if $(FLOODS),--floods $(FLOODS))

bench-freeze: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/freeze.py $(if $(SIZES),--sizes $(SIZES)) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

bench-usage: bootstrap
	@PYTHONPATH=tests/support .venv/bin/python bench/usage.py $(if $(VMS),--vms $(VMS))

bench-compare:
	@$(PYTHON) ./bootstrap peers
	@PYTHONPATH=tests/support .venv/bin/python bench/compare.py $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(VMS),--vms $(VMS)) $(if $(RIVALS),--rivals $(RIVALS))

bench-page: bootstrap-tests
	@PYTHONPATH=tests/support .venv/bin/python bench/page.py $(if $(VMS),--vms $(VMS)) \
		$(if $(PAGES),--pages $(PAGES))

clean:
	rm -rf .venv .tox .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist $(if $(ALL),.cache)
