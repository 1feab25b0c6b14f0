// Connects to whatever there may be outside, as a program that knows of no proxy. Says what did not come to the expected nothing,
// and how many attempts there were.
import dgram from "node:dgram";
import net from "node:net";
import os from "node:os";

let attempts = 0, odd = 0;

function outcome(name, found, expected) {
  attempts += 1;
  if (!expected.split(" ").includes(found)) {
    odd += 1;
    console.log(`${name}: ${found} where ${expected} was expected`);
  }
}

const connect = (where) => new Promise((done) => {
  const socket = net.connect(where);
  socket.on("connect", () => { socket.destroy(); done("connected"); });
  socket.on("error", (error) => done(error.code));
});

const send = (family, host, port) => new Promise((done) => {
  const socket = dgram.createSocket(family);
  socket.on("error", (error) => { socket.close(); done(error.code); });
  socket.on("message", () => { socket.close(); done("answered"); });
  socket.connect(port, host, (error) => error ? done(error.code) : socket.send("hello"));
});

// Ports that nobody captures: SSH, mail, DNS over TLS, databases, a cloud's metadata beside its usual port, docker, a debugger.
for (const host of ["1.1.1.1", "8.8.8.8", "10.0.0.1", "169.254.169.254", "192.168.0.1", "2606:4700:4700::1111", "fd00:ec2::254", "::1", "127.0.0.1"]) {
  for (const port of [22, 25, 81, 853, 2375, 5432, 6379, 8092, 9229]) {
    outcome(`${host} ${port}`, await connect({ host, port }), "ECONNREFUSED");
  }
}
// QUIC, names by datagram to where nobody answers for them, time, SNMP.
for (const [family, host] of [["udp4", "1.1.1.1"], ["udp4", "169.254.169.254"], ["udp6", "2606:4700:4700::1111"]]) {
  for (const port of [443, 123, 161, 3478]) {
    outcome(`${host} ${port} by datagram`, await send(family, host, port), "ECONNREFUSED");
  }
}
// Sockets of the host, by path and by name.
for (const path of ["/run/systemd/private", "/run/dbus/system_bus_socket", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/postern/link.sock",
  "/run/user/1000/bus", "/tmp/.X11-unix/X0", "/dev/log", "/run/nscd/socket"]) {
  outcome(path, await connect({ path }), "ENOENT");
}
for (const name of ["\0/tmp/.X11-unix/X0", "\0/org/bluez/audio", "\0containerd-shim"]) {
  outcome(JSON.stringify(name), await connect({ path: name }), "ECONNREFUSED EINVAL");
}
outcome("interfaces", Object.keys(os.networkInterfaces()).join(), "lo");

console.log(`${attempts} attempts, ${odd} came to something`);
process.exit(odd ? 1 : 0);
