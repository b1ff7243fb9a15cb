# Names only: what each one does is in `cargo xtask`. The packages come first because cargo needs a linker.

.PHONY: demo test bench fuzz

demo test bench fuzz:
	@testbed/packages.sh
	@cargo xtask $@
