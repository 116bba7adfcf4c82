//! Accidents of whole processes, hosts and networks, drawn while the world runs and undone a while later.

use crate::disk::Left;
use crate::ids::{HostId, NodeId};
use crate::node::Death;
use crate::rng::Rng;
use crate::world::World;
use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(200);

/// One generator per class of accident.
struct Chaos {
    kill: Rng,
    power: Rng,
    suspend: Rng,
    partition: Rng,
    link: Rng,
    wall: Rng,
}

impl World {
    /// Draws accidents by [`crate::faults::ChaosFaults`] for so long.
    pub(crate) fn chaos(&mut self, time: Duration) {
        let rng = |label| Rng::new(self.env.seed, label, 0);
        let chaos = Chaos {
            kill: rng("accidents.kill"),
            power: rng("accidents.power"),
            suspend: rng("accidents.suspend"),
            partition: rng("accidents.partition"),
            link: rng("accidents.link"),
            wall: rng("accidents.wall"),
        };
        self.chaos_until = self.env.now + time.as_micros() as u64;
        self.later(PERIOD, |world| chaos.draw(world));
    }

    fn random_host(&self, rng: &mut Rng) -> HostId {
        HostId(rng.below(self.env.net.topology.hosts.len() as u64) as usize)
    }
}

impl Chaos {
    fn draw(mut self, world: &mut World) {
        if world.env.now >= world.chaos_until || world.nodes.is_empty() {
            return;
        }
        let faults = world.faults.chaos.clone();
        if self.kill.chance(faults.kill) {
            kill(world, &mut self.kill);
        }
        if self.power.chance(faults.power) {
            let host = world.random_host(&mut self.power);
            // At once, or in the middle of one of the next things that something on it does.
            let on = |node: &NodeId| world.nodes[node.0].host == host && world.running(*node);
            let victim = (0..world.nodes.len()).map(NodeId).find(on).filter(|_| self.power.flip());
            match victim {
                Some(node) => world.dies_after(node, self.power.between(1, 20), Death::Power(Left::Drawn)),
                None => world.power_off(host),
            }
            world.later(while_out(&mut self.power), move |world| power_on(world, host));
        }
        if self.suspend.chance(faults.suspend) {
            let node = NodeId(self.suspend.below(world.nodes.len() as u64) as usize);
            world.suspend(node);
            world.later(while_out(&mut self.suspend), move |world| {
                if world.nodes[node.0].suspended {
                    world.resume(node);
                }
            });
        }
        if self.partition.chance(faults.partition) {
            let (a, b) = (world.random_host(&mut self.partition), world.random_host(&mut self.partition));
            world.deafen(a, b);
            if self.partition.flip() {
                world.deafen(b, a);
            }
            world.later(while_out(&mut self.partition), move |world| world.reconnect(a, b));
        }
        if self.link.chance(faults.link) {
            let host = world.random_host(&mut self.link);
            let count = world.env.net.topology.host(host).ifaces.len() as u64;
            let interface = 1 + self.link.between(1, count.saturating_sub(1).max(1)) as u32;
            world.set_link(host, interface, false);
            world.later(while_out(&mut self.link), move |world| world.set_link(host, interface, true));
        }
        if self.wall.chance(faults.wall) {
            let node = NodeId(self.wall.below(world.nodes.len() as u64) as usize);
            let seconds = self.wall.log_uniform(1, 315_000_000) as i64;
            let seconds = if self.wall.flip() { seconds } else { -seconds };
            world.jump_wall(node, seconds);
        }
        world.later(PERIOD, |world| self.draw(world));
    }
}

fn kill(world: &mut World, rng: &mut Rng) {
    let node = NodeId(rng.below(world.nodes.len() as u64) as usize);
    if !world.running(node) {
        return;
    }
    // At once, or in the middle of one of the next things it does.
    if rng.flip() {
        world.kill(node);
    } else {
        world.dies_after(node, rng.between(1, 20), Death::Kill);
    }
    world.later(while_out(rng), move |world| start_again(world, node));
}

fn start_again(world: &mut World, node: NodeId) {
    let host = world.nodes[node.0].host;
    let powered = world.env.net.topology.host(host).up;
    if powered && !world.running(node) && world.exit_status(node).is_none() {
        world.start(node);
    }
}

fn power_on(world: &mut World, host: HostId) {
    world.power_on(host);
    for node in (0..world.nodes.len()).map(NodeId) {
        if world.nodes[node.0].host == host {
            start_again(world, node);
        }
    }
}

fn while_out(rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.log_uniform(10_000, 30_000_000))
}
