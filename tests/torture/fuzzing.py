"""The fuzzer itself, in a process of its own: `python -m tests.torture.fuzzing TARGET [options of libFuzzer] CORPUS`.

Ends at the first finding, with the traceback on stderr and the input beside its options' `-artifact_prefix`.
"""

import sys

import atheris

with atheris.instrument_imports(include=["server", "storage"]):
    from tests.support.fuzz_targets import TARGETS


def main() -> None:
    command, name, *options = sys.argv
    atheris.Setup([command, *options], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
