# cargo
# needs: cargo cargo
# version: $CLIENTS/rust/bin/cargo --version
set -e
export PATH="$CLIENTS/rust/bin:$PATH" CARGO_NET_RETRY=0 CARGO_REGISTRIES_THINGS_INDEX="sparse+$URL/crates/"
cargo init -q --vcs none --name mine
cargo add -q --registry things tiny-thing
cargo fetch
cat "$HOME"/.cargo/registry/src/*/tiny-thing-1.0.0/src/lib.rs
