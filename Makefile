# Names only: what each one does is in `cargo xtask`, and for the demonstration in the program itself. The packages of
# the test bed come first because cargo needs a linker.

.PHONY: demo demo-vm test bench fuzz

demo:
	@command -v cc > /dev/null || testbed/packages.sh
	@cargo run --release --package srptgt -- demo

demo-vm:
	@testbed/packages.sh
	@cargo xtask demo

test bench fuzz:
	@testbed/packages.sh
	@cargo xtask $@
