# The platform on Docker Compose. Included by the Makefile.
OPERATE = PYTHONPATH=deploy python3 -m operating
# Runs and versions record it. Where this is no checkout, .env says what it is.
COMMIT := $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null)
ifneq ($(COMMIT),)
up upgrade images: export AFORO_CODE_COMMIT := $(COMMIT)
endif

.PHONY: up down logs status doctor secrets rotate backup restore prune upgrade images test-stack test-offline

up: secrets  ## start the platform: builds what is missing, waits until everything is healthy
	docker compose up --build --detach --wait
	@$(OPERATE) status

down:  ## stop the platform; data stays
	docker compose --profile '*' down

logs:  ## follow the logs; SERVICE=mlflow for one service alone
	docker compose logs --follow --tail 100 $(SERVICE)

status:  ## what runs, how healthy it is, how much memory it takes, and where to look
	@$(OPERATE) status

doctor:  ## name what is wrong, and how to mend it
	@$(OPERATE) doctor

secrets:  ## make what is missing in secrets/, and .env
	@$(OPERATE) secrets

rotate:  ## make one service's secrets anew: SERVICE=mlflow
	@$(OPERATE) rotate $(or $(SERVICE),$(error say which service, for example SERVICE=mlflow))

backup:  ## save databases and buckets into one archive under backups/
	@$(OPERATE) backup

restore:  ## bring an archive back, in place of what is there: FILE=backups/....tar
	@$(OPERATE) restore $(or $(FILE),$(error say which archive, for example FILE=backups/2026-01-31.tar))

prune:  ## remove old runs and snapshots that nothing refers to; OPTIONS=--dry-run shows what would go
	docker compose exec airflow-scheduler /opt/aforo/bin/aforo prune $(OPTIONS)

upgrade: secrets  ## back up, build the new images, migrate, start
	@$(OPERATE) backup
	docker compose up --build --detach --wait --force-recreate

images:  ## save the whole platform into one archive, for a machine without the internet
	@$(OPERATE) images

test-stack: $(VENV)/ready  ## build, start and drive the platform, break it, restore it; takes about 15 minutes
	$(VENV)/bin/pytest tests/stack -m stack --durations 15

test-offline: $(VENV)/ready  ## start the platform from its archive in a Docker engine that reaches nothing; root, 15 GB of disk
	$(VENV)/bin/pytest tests/stack -m offline
