//! Compiles the kernel program of `src/port/xdp` with clang into an object that the crate embeds.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "src/port/xdp/program.bpf.c";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-env-changed=CLANG");

    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let object = PathBuf::from(variable("OUT_DIR")).join("program.bpf.o");
    let mut command = Command::new(&clang);
    command.args(["-target", "bpf", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-c", SOURCE, "-o"]).arg(&object);
    // libbpf's own headers come with the crate that builds libbpf.
    command.arg("-I").arg(variable("DEP_BPF_INCLUDE"));
    // Debian keeps asm/types.h where a compiler for another target doesn't look.
    let multiarch = format!("/usr/include/{}-linux-gnu", variable("CARGO_CFG_TARGET_ARCH"));
    if Path::new(&multiarch).is_dir() {
        command.arg("-idirafter").arg(&multiarch);
    }

    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!(
            "{clang} could not compile {SOURCE} ({status}); its messages are above. If a header under linux/ or asm/ is \
             missing, install it: apt install linux-libc-dev"
        )),
        Err(error) => fail(&format!(
            "the kernel program {SOURCE} needs clang, but `{clang}` did not start: {error}. Install it: apt install clang \
             (or name another one in the variable CLANG)"
        )),
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}
