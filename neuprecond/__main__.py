"""``python -m neuprecond`` is the command line."""

from neuprecond.cli import app

if __name__ == "__main__":
    app(prog_name="neuprecond")
