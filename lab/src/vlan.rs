//! Hosts that speak with a VLAN tag, without 8021q in the kernel: a small program pushes the tag on the way out and pops it
//! on the way in, so that everything the host sends and hears is tagged on the wire.

use std::fs;

use anyhow::Result;

use crate::Lab;
use crate::command::{self, Invocation};

/// The program, in C for `clang -target bpf`.
const SOURCE: &str = include_str!("../bpf/vlan.c");

/// Tags all traffic of both hosts with 802.1Q VLAN `id`. Needs `clang`.
pub fn tag_hosts(lab: &Lab, id: u16) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (source, object) = (folder.path().join("vlan.c"), folder.path().join("vlan.o"));
    fs::write(&source, SOURCE)?;
    Invocation::new("clang")
        .words(format!("-O2 -g -Wall -Werror -target bpf -DVLAN_ID={id} -c -o"))
        .arg(object.to_string_lossy())
        .arg(source.to_string_lossy())
        .run()?;
    for host in [&lab.client, &lab.server] {
        let tc = format!("tc -n {}", host.netns);
        command::run(format!("{tc} qdisc add dev eth0 clsact"))?;
        for (hook, section) in [("egress", "tc/push"), ("ingress", "tc/pop")] {
            command::run(format!(
                "{tc} filter add dev eth0 {hook} bpf direct-action object-file {} section {section}",
                object.display()
            ))?;
        }
    }
    Ok(())
}
