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

/// More than these may be too many to join a group on all of them.
const FEW: usize = 20;

/// Every IPv4 address of every interface that is up: sorted, but of many first those that lead to others. Empty if the system does
/// not say.
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
    if interfaces.len() > FEW {
        let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
        let routed = default_routes(&routes);
        interfaces.sort_by_cached_key(|interface| {
            let leads = interface.addr.is_loopback() || routed.contains(&&*interface.name);
            (!leads, !is_device(&interface.name))
        });
    }
    interfaces
}

/// The interfaces that the table of routes sends everything to that goes nowhere else.
fn default_routes(table: &str) -> Vec<&str> {
    let columns = table.lines().map(|line| line.split_whitespace());
    columns
        .filter_map(|mut row| Some((row.next()?, row.next()?)))
        .filter(|(_, to)| *to == "00000000")
        .map(|(name, _)| name)
        .collect()
}

/// Whether there is a device behind it, not only a program.
fn is_device(name: &str) -> bool {
    fs::exists(format!("/sys/class/net/{}/device", base(name))).unwrap_or(false)
}

/// Without the number of an alias such as `eth0:1`.
fn base(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
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
    let name = base(name);
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
    fn the_default_routes_are_read_from_the_kernels_table() {
        let table = "Iface\tDestination\tGateway \tFlags\nwlan0\t00000000\t010AA8C0\t0003\n\
                     docker0\t000011AC\t00000000\t0001\nusb0\t00000000\t0102A8C0\t0003\n\n";
        assert_eq!(default_routes(table), ["wlan0", "usb0"]);
        assert_eq!(default_routes(""), [""; 0]);
    }

    #[test]
    fn the_loopback_is_listed_and_takes_multicast() {
        let all = list();
        let lo = all.iter().find(|interface| interface.addr.is_loopback()).expect("a loopback");
        assert!(lo.multicast && lo.index != 0 && lo.prefix == 8, "{lo:?}");
        assert!(all.is_sorted());
    }
}
