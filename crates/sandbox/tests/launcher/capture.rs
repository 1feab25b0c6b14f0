//! Connections that a program makes by address: captured at the ports of the plan, whatever the address, and refused at
//! once at every other. Never needs the program to know of a proxy.

use std::{
    io::Read,
    net::{IpAddr, TcpListener},
    os::fd::OwnedFd,
};

use postern_contract::launch::{Enforced, ExitStatus, Layer, Listener, Plan, Said, Standing};

use crate::harness::{Launcher, Mode, Site, plan, readable};

/// Addresses of all sorts: somebody's, nobody's, the sandbox's own, a cloud's metadata.
const V4: [&str; 6] = [
    "192.0.2.7",
    "8.8.8.8",
    "10.0.0.1",
    "169.254.169.254",
    "127.0.0.1",
    "198.19.255.254",
];
const V6: [&str; 4] = [
    "2001:db8::7",
    "2606:4700:4700::1111",
    "::1",
    "fd70:6f73:7465:726e:ffff:ffff:ffff:fffe",
];

fn captured(ports: &[u16]) -> Plan {
    let ports = ports.iter().map(|port| Listener::Captured { port: *port });
    Plan {
        listeners: [Listener::Gate].into_iter().chain(ports).collect(),
        ..plan()
    }
}

/// Addresses that a program can connect to here: without IPv6 in the kernel there are none of its.
fn addresses() -> Vec<&'static str> {
    let has_v6 = std::path::Path::new("/proc/net/if_inet6").exists();
    let sixes = V6.into_iter().filter(|_| has_v6);
    V4.into_iter().chain(sixes).collect()
}

/// Connects and says how it went: `connected` or the error's number.
fn connect(launcher: &mut Launcher, kind: &str, address: &str, port: u16) -> String {
    let proto = if kind == "SOCK_DGRAM" { "udp" } else { "tcp" };
    let script = format!(
        "use IO::Socket::IP; my $s = IO::Socket::IP->new(PeerHost => q({address}), PeerPort => {port},
            Proto => q({proto}), Timeout => 10);
        unless ($s) {{ print $!+0; exit }}
        if (q({proto}) eq q(udp)) {{
            $s->send(q(hello)); alarm 10; defined $s->recv(my $answer, 9) or do {{ print $!+0; exit }};
        }}
        print q(connected)"
    );
    launcher.run(&["perl", "-e", &script]).0
}

#[test]
fn a_connection_to_any_address_comes_out_here_with_the_address_that_was_meant() {
    for mode in Mode::all() {
        let (mut launcher, mut listeners) = Site::new(mode).build(&captured(&[80, 443, 9000]));
        assert_eq!(listeners.len(), 4);
        let listeners = listeners.split_off(1);
        for (port, listener) in [80, 443, 9000].into_iter().zip(listeners) {
            let listener = TcpListener::from(listener);
            for address in addresses() {
                let line = format!("exec 3<>/dev/tcp/{address}/{port}; echo hello >&3; cat <&3");
                let (_, mut output) = launcher.spawn(&["bash", "-c", &line]);
                assert!(readable(&OwnedFd::from(listener.try_clone().unwrap())));
                let stream = listener.accept().unwrap().0;
                let meant = stream.local_addr().unwrap();
                let wanted: IpAddr = address.parse().unwrap();
                assert_eq!((meant.ip().to_canonical(), meant.port()), (wanted, port));
                drop(stream);
                drop(output.read_to_string(&mut String::new()));
                assert!(matches!(launcher.hear(), Said::Exited { .. }));
            }
        }
    }
}

#[test]
fn a_port_that_nobody_named_is_refused_at_once() {
    let refused = libc::ECONNREFUSED.to_string();
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&captured(&[80, 443]));
        for address in addresses() {
            for port in [25, 81, 853, 4180, 5432, 40_000] {
                let said = connect(&mut launcher, "SOCK_STREAM", address, port);
                assert_eq!(said, refused, "{address}:{port}");
            }
        }
    }
}

/// QUIC, DNS elsewhere, anything: the error comes at once, so that programs fall back to what is captured.
#[test]
fn datagrams_are_refused_whatever_the_port() {
    let refused = libc::ECONNREFUSED.to_string();
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&captured(&[80, 443]));
        for address in addresses() {
            for port in [53, 443, 5353, 40_000] {
                let said = connect(&mut launcher, "SOCK_DGRAM", address, port);
                assert_eq!(said, refused, "{address}:{port}");
            }
        }
    }
}

#[test]
fn once_nobody_holds_the_listeners_connections_are_refused() {
    let refused = libc::ECONNREFUSED.to_string();
    for mode in Mode::all() {
        let (mut launcher, listeners) = Site::new(mode).build(&captured(&[80, 443]));
        assert_eq!(
            connect(&mut launcher, "SOCK_STREAM", "192.0.2.7", 443),
            "connected"
        );
        drop(listeners);
        for (address, port) in [("192.0.2.7", 443), ("127.0.0.1", 80), ("127.127.0.1", 4180)] {
            let said = connect(&mut launcher, "SOCK_STREAM", address, port);
            assert_eq!(said, refused, "{address}:{port}");
        }
    }
}

/// A sandbox that stands, its report, and the socket that all other ports lead to.
fn with_others(site: &Site) -> (Launcher, Enforced, TcpListener) {
    let mut plan = captured(&[80, 443]);
    plan.listeners.push(Listener::Others);
    let launcher = site.start();
    launcher.client.plan(&plan).unwrap();
    let Some((Said::Built { enforced }, mut listeners)) = launcher.client.hear().unwrap() else {
        panic!("not built")
    };
    let others = TcpListener::from(listeners.pop().unwrap());
    (launcher, enforced, others)
}

#[test]
fn an_attempt_at_any_other_port_comes_out_at_one_socket_and_never_at_the_agents_own() {
    let serve = "use IO::Socket::IP; $| = 1; $s = IO::Socket::IP->new(LocalHost => q(0.0.0.0), LocalPort => 8123, Listen => 9)
        or die; print qq(up\n); while ($c = $s->accept) { print $c qq(own\n); close $c }";
    for mode in Mode::all() {
        let site = Site::new(mode);
        let (mut launcher, enforced, others) = with_others(&site);
        if let Some(Standing::Absent(why)) = enforced.get(&Layer::Divert) {
            eprintln!("skipped: {why}");
            return;
        }
        let (_, mut server) = launcher.spawn(&["perl", "-e", serve]);
        server.read_exact(&mut [0; 3]).unwrap();
        let own = ["127.0.0.1", "198.19.255.254", "::1", V6[3]];
        let foreign = addresses().into_iter().filter(|at| !own.contains(at));
        for (address, port) in foreign.flat_map(|at| [(at, 8123), (at, 25), (at, 4180)]) {
            let line = format!("exec 3<>/dev/tcp/{address}/{port}; cat <&3");
            let (_, mut output) = launcher.spawn(&["bash", "-c", &line]);
            assert!(readable(&OwnedFd::from(others.try_clone().unwrap())));
            let stream = others.accept().unwrap().0;
            let meant = stream.local_addr().unwrap();
            let wanted: IpAddr = address.parse().unwrap();
            assert_eq!((meant.ip().to_canonical(), meant.port()), (wanted, port));
            drop(stream);
            let mut said = String::new();
            drop(output.read_to_string(&mut said));
            assert!(!said.contains("own"), "{address}: {said}");
            assert!(matches!(launcher.hear(), Said::Exited { .. }));
        }
        let ask = |launcher: &mut Launcher, at: &str| connect(launcher, "SOCK_STREAM", at, 8123);
        assert_eq!(ask(&mut launcher, "127.0.0.1"), "connected");
        assert_eq!(ask(&mut launcher, "198.19.255.254"), "connected");
        drop(others);
        assert_eq!(
            ask(&mut launcher, "192.0.2.7"),
            libc::ECONNREFUSED.to_string()
        );
        assert_eq!(ask(&mut launcher, "127.0.0.1"), "connected");
    }
}

#[test]
fn the_agents_own_servers_are_its_own_and_echoes_are_nobodys() {
    let serve = "use IO::Socket::INET; $| = 1;
        $s = IO::Socket::INET->new(LocalAddr => q(127.0.0.1:3000), Listen => 1) or die;
        if (fork == 0) { $c = IO::Socket::INET->new(PeerAddr => q(127.0.0.1:3000)) or die; print <$c>; exit }
        $c = $s->accept; print $c qq(served\\n); close $c; wait";
    for mode in Mode::all() {
        let (mut launcher, _listeners) = Site::new(mode).build(&captured(&[80, 443]));
        let (text, status) = launcher.run(&["perl", "-e", serve]);
        assert_eq!((text.as_str(), status), ("served\n", ExitStatus::Code(0)));
        // An echo socket of ping(8), which needs no privilege where a group may have it: no group may here.
        let ping = "use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 1) and print q(made)";
        assert_eq!(launcher.run(&["perl", "-e", ping]).0, "");
    }
}

#[test]
fn the_report_says_what_is_captured() {
    for mode in Mode::all() {
        let site = Site::new(mode);
        let launcher = site.start();
        launcher.client.plan(&captured(&[80])).unwrap();
        let Some((Said::Built { enforced }, _)) = launcher.client.hear().unwrap() else {
            panic!("not built")
        };
        let Some(Standing::Enforced(how)) = enforced.get(&Layer::NetNamespace) else {
            panic!("{enforced:?}")
        };
        assert!(how.contains("leads to the gate"), "{how}");
        // Nobody asked for a record of other ports, and nobody claims one.
        let divert = enforced.get(&Layer::Divert);
        assert!(matches!(divert, Some(Standing::Absent(_))), "{divert:?}");
        let required = Plan {
            required: vec![Layer::Divert],
            ..captured(&[80])
        };
        assert!(site.refusal(&required).contains("leave no record"));
    }
}

#[test]
fn what_a_plan_cannot_capture_is_refused() {
    let site = Site::new(Mode::Ordinary);
    for (ports, why) in [
        (&[0][..], "no port"),
        (&[53], "something else answers there"),
        (&[4180], "something else answers there"),
        (&[80, 80], "the same listener twice"),
    ] {
        let said = site.refusal(&captured(ports));
        assert!(said.contains(why), "{said}");
    }
    let many: Vec<u16> = (1000..1033).collect();
    assert!(site.refusal(&captured(&many)).contains("at most 32"));
}
