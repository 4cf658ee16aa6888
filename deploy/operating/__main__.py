"""``python -m operating COMMAND``: what the Makefile's words for the platform call."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from operating import archive, doctor, images, secret_files, status
from operating.stack import OperatingError


def main() -> int:
    parser = argparse.ArgumentParser(prog="operating", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("secrets", help="make what is missing in secrets/, and .env")
    rotate = commands.add_parser("rotate", help="make the secrets of one service anew")
    rotate.add_argument("service", help=", ".join(secret_files.SERVICES))
    commands.add_parser("doctor", help="name what is wrong, and how to mend it")
    commands.add_parser("status", help="what runs, and where to look")
    backup = commands.add_parser("backup", help="save databases and buckets into one archive")
    backup.add_argument("--to", type=Path, help="file to write; default: backups/<time>.tar")
    restore = commands.add_parser("restore", help="bring an archive back, in place of what is there")
    restore.add_argument("file", type=Path)
    images = commands.add_parser("images", help="save the whole platform into one archive")
    images.add_argument("--to", type=Path, default=Path("dist/aforo-images.tar"))
    arguments = parser.parse_args()
    try:
        return run(arguments)
    except OperatingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(arguments: argparse.Namespace) -> int:
    if arguments.command == "secrets":
        made = secret_files.make()
        print(f"secrets made: {', '.join(made)}" if made else "secrets: all there")
    elif arguments.command == "rotate":
        secret_files.rotate(arguments.service)
    elif arguments.command == "doctor":
        return doctor.examine()
    elif arguments.command == "status":
        status.show()
    elif arguments.command == "backup":
        print(archive.backup(arguments.to))
    elif arguments.command == "restore":
        archive.restore(arguments.file)
    elif arguments.command == "images":
        images.save(arguments.to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
