//! The interfaces of this host, as the kernel shows them.

use crate::machine::Interface;
use if_addrs::IfAddr;
use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::{AddressFamily, SocketType, socket};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
const MULTICAST: u32 = 0x1000;

static SAID: AtomicBool = AtomicBool::new(false);

/// Every IPv4 address of every interface that is up, sorted. Empty if the system does not say.
pub(super) fn list() -> Vec<Interface> {
    let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        // Asked for every few seconds, said once.
        if !SAID.swap(true, Ordering::Relaxed) {
            log::warn!("cannot list the network interfaces, multicast is off until that works: {error}");
        }
        Vec::new()
    });
    let mut interfaces: Vec<Interface> = found.into_iter().filter_map(of).collect();
    interfaces.sort();
    interfaces.dedup();
    interfaces
}

/// The number of the interface that a zone names, or whose number it is.
pub(super) fn zone(name: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    let index = match name.parse::<u32>() {
        Ok(index) => index_to_name(&socket, index).ok().map(|_| index),
        Err(_) => name_to_index(&socket, name).ok(),
    };
    index.filter(|&index| index != 0)
}

fn of(found: if_addrs::Interface) -> Option<Interface> {
    let IfAddr::V4(v4) = &found.addr else { return None };
    let index = found.index.filter(|&index| index != 0)?;
    let flags = flags(&found.name).unwrap_or_else(|| {
        // Another namespace's /sys is mounted here: what getifaddrs says must do.
        let loopback = if v4.is_loopback() { LOOPBACK } else { 0 };
        let multicast = if found.is_p2p { 0 } else { MULTICAST };
        UP | loopback | multicast
    });
    if flags & UP == 0 {
        return None;
    }
    let (addr, prefix) = (v4.ip, v4.prefixlen);
    Some(Interface { index, addr, prefix, multicast: flags & (MULTICAST | LOOPBACK) != 0, name: found.name })
}

fn flags(name: &str) -> Option<u32> {
    let name = name.split(':').next().unwrap_or(name); // an alias such as eth0:1
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let text = fs::read_to_string(format!("/sys/class/net/{name}/flags")).ok()?;
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_listed_and_takes_multicast() {
        let all = list();
        let lo = all.iter().find(|interface| interface.addr.is_loopback()).expect("a loopback");
        assert!(lo.multicast && lo.index != 0 && lo.prefix == 8, "{lo:?}");
        assert!(all.is_sorted());
    }
}
