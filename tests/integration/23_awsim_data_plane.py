#!/usr/bin/python3
"""awsim mirrors what passes a workload's interface, frame for frame, and counts it exactly."""
import os
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lab/awsim'))
from testkit import *  # noqa: E402,F403
import logging
logging.getLogger('scapy').setLevel(logging.ERROR)

isolate()

WEB, REMOTE, CAP = '10.0.1.10', '10.0.1.99', '10.0.1.20'
MACS = {'web': '0a:00:00:00:00:01', 'cap': '0a:00:00:00:00:02', 'remote': '0a:00:00:00:00:99'}
WORK = scratch('plane')


def sh(command, **more):
    if os.environ.get('TRACE'):
        print('#', time.monotonic(), command[:90], flush=True)
    return subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE, **more).stdout


def make_hosts():
    sh('ip link add fabric type bridge mcast_snooping 0 && ip link set fabric mtu 9001 up '
       '&& sysctl -qw net.ipv6.conf.all.disable_ipv6=1')
    # 8900: the largest packet that a target with 9001 takes whole is 8947
    for name, ip, mtu in (('web', WEB, 8900), ('remote', REMOTE, 8900), ('cap', CAP, 9001)):
        sh(f'''ip netns add {name}
        ip link add fab-{name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}
        ip link set fab-{name} master fabric up
        ip -n {name} link set eth0 address {MACS[name]}
        ip netns exec {name} sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.accept_dad=0
        for e in "ip netns exec {name} ethtool -K eth0" "ethtool -K fab-{name}"; do
            $e tx off sg off tso off gso off gro off >/dev/null 2>&1 || true
        done
        ip -n {name} address add {ip}/24 dev eth0
        ip -n {name} address add fd77::{ip.split('.')[3]}/64 dev eth0 nodad
        ip -n {name} link set lo up
        ip -n {name} link set eth0 up
        ip -n {name} route add default via 10.0.1.1 || true
        ip -n {name} neigh add 10.0.1.1 lladdr 0a:ff:fe:00:00:01 dev eth0''')
    sh('ip netns exec cap sysctl -qw net.ipv6.conf.all.disable_ipv6=1')


class Dump:
    """tcpdump in a namespace; `stop` returns the frames once nothing more comes."""

    def __init__(self, host, *expression):
        self.path = '%s/%s-%d.pcap' % (WORK, host, time.monotonic_ns())
        self.p = subprocess.Popen(['ip', 'netns', 'exec', host] + tcpdump() + ['-i', 'eth0', '-U', '-s', '0', '-B',
                                   '65536', '-Z', 'root', '--immediate-mode', '-w', self.path] + list(expression),
                                  stderr=subprocess.PIPE, text=True)
        line = '-'
        while 'listening on' not in line:
            line = self.p.stderr.readline()
            if line == '':
                raise SystemExit('tcpdump does not start on ' + host)

    def stop(self):
        told = ['', '-']
        while told[0] != told[1]:  # until what the kernel has taken in is written down
            time.sleep(0.2)
            self.p.send_signal(signal.SIGUSR1)
            words = self.p.stderr.readline().split()
            told = [words[1], words[4]]  # tcpdump: 9 packets captured, 9 packets received by filter, ...
        self.p.send_signal(signal.SIGINT)
        self.text = self.p.stderr.read()
        self.p.wait()
        if not ('\n0 packets dropped by kernel' in self.text):
            print('# tcpdump itself lost packets: ' + self.text.replace('\n', ' '))
        return frames(self.path)


def frames(path):
    return [data for _, data in stamped(path)]


def stamped(path):
    """(time in ns, frame) of a classic pcap file."""
    with open(path, 'rb') as f:
        data = f.read()
    unit = {0xa1b2c3d4: 1000, 0xa1b23c4d: 1}[struct.unpack_from('<I', data)[0]]
    at, out = 24, []
    while at + 16 <= len(data):
        s, fraction, size, _ = struct.unpack_from('<IIII', data, at)
        out.append((s * 10**9 + fraction * unit, data[at + 16:at + 16 + size]))
        at += 16 + size
    return out


def never(f):
    """What AWS does not mirror, by a second reading of the frame."""
    if f[12:14] == b'\x86\xdd':
        return False
    if f[12:14] != b'\x08\x00':
        return True
    ends = (f[26:30], f[30:34])
    for last in (254, 123, 250, 251):
        if bytes((169, 254, 169, last)) in ends:
            return True
    ports = (int.from_bytes(f[34:36], 'big'), int.from_bytes(f[36:38], 'big'))
    if f[23] == 17 and set(ports) <= {67, 68}:
        return True
    dns = bytes((10, 0, 0, 2)) in ends or bytes((169, 254, 169, 253)) in ends
    return dns and f[23] in (6, 17) and 53 in ports


def inner(path):
    sh(f'editcap -F pcap -C 0:50 {path} {path}.inner')
    return frames(path + '.inner')


def counts(s):
    c = sim.session_counters(s)
    both = c['ingress']['frames'] + c['egress']['frames']
    check(c['seen'] == c['never_mirrored'] + c['rejected'] + c['taken_by_lower_number'] + both and
          both == c['mirrored'] + c['send_failed'] + sum(c['undeliverable_by'].values()) and
          c['ring_drops'] == 0 and c['send_failed'] == 0, 'the counters balance and show no loss', c)
    return c


make_hosts()
w = world()
w['enis'][0]['port'], w['enis'][1]['port'] = 'fab-web', 'fab-cap'
w['enis'][0]['ipv6'] = ['fd77::10']
sim = Awsim(w)
ec2 = sim.client()
target = ec2.create_traffic_mirror_target(NetworkInterfaceId='eni-0a000000000000002')[
    'TrafficMirrorTarget']['TrafficMirrorTargetId']


def make_filter(rules=None, dns=False):
    f = ec2.create_traffic_mirror_filter()['TrafficMirrorFilter']['TrafficMirrorFilterId']
    if rules is None:
        rules = [dict(direction=d, cidr=c) for d in ('ingress', 'egress') for c in ('0.0.0.0/0', '::/0')]
    for n, r in enumerate(rules):
        more = {k: r[k] for k in ('Protocol', 'DestinationPortRange', 'SourcePortRange') if k in r}
        ec2.create_traffic_mirror_filter_rule(
            TrafficMirrorFilterId=f, TrafficDirection=r['direction'], RuleNumber=r.get('number', n + 1),
            RuleAction=r.get('action', 'accept'), SourceCidrBlock=r.get('src', r.get('cidr')),
            DestinationCidrBlock=r.get('dst', r.get('cidr')), **more)
    if dns:
        ec2.modify_traffic_mirror_filter_network_services(TrafficMirrorFilterId=f, AddNetworkServices=['amazon-dns'])
    return f


def make_session(f, number=1, **more):
    return ec2.create_traffic_mirror_session(
        NetworkInterfaceId='eni-0a000000000000001', TrafficMirrorTargetId=target, TrafficMirrorFilterId=f,
        SessionNumber=number, **more)['TrafficMirrorSession']['TrafficMirrorSessionId']


def delete(s):
    ec2.delete_traffic_mirror_session(TrafficMirrorSessionId=s)


def write_pcap(name, packets):
    from scapy.utils import wrpcap
    path = '%s/%s.pcap' % (WORK, name)
    wrpcap(path, packets)
    return path


def replay(host, path, *more):
    subprocess.run(['ip', 'netns', 'exec', host, 'tcpreplay', '-q', '-i', 'eth0'] + list(more) + [path],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def odd_traffic():
    """Everything there is a rule about, crafted, from both sides."""
    from scapy.layers.l2 import Ether, ARP, Dot1Q
    from scapy.layers.inet import IP, UDP, TCP, ICMP, fragment
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
    from scapy.layers.dhcp import BOOTP
    from scapy.layers.dns import DNS, DNSQR
    from scapy.packet import Raw
    e = Ether(src=MACS['web'], dst=MACS['remote'])
    out = [e / IP(src=WEB, dst=REMOTE) / UDP(sport=1000 + i, dport=2000) / Raw(b'x' * (i * 37)) for i in range(40)]
    out += [e / IP(src=WEB, dst='169.254.169.254') / TCP(dport=80),
            e / IP(src=WEB, dst='169.254.169.123') / UDP(sport=123, dport=123) / Raw(b'n' * 48),
            e / IP(src=WEB, dst='169.254.169.250') / TCP(dport=1688),
            e / IP(src=WEB, dst='10.0.0.2') / UDP(sport=3000, dport=53) / DNS(qd=DNSQR(qname='a.example')),
            e / IP(src=WEB, dst='10.0.0.2') / TCP(sport=3001, dport=53),
            e / IP(src=WEB, dst='169.254.169.253') / UDP(sport=3002, dport=53) / DNS(),
            e / IP(src=WEB, dst='8.8.8.8') / UDP(sport=3003, dport=53) / DNS(),
            e / IP(src='0.0.0.0', dst='255.255.255.255') / UDP(sport=68, dport=67) / BOOTP(),
            e / ARP(hwsrc=MACS['web'], psrc=WEB, pdst=REMOTE),
            e / IP(src=WEB, dst=REMOTE, proto=132) / Raw(b's' * 60),
            e / IP(src=WEB, dst=REMOTE, proto=47) / Raw(b'g' * 60),
            e / IPv6(src='fd77::10', dst='fd77::99') / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(dport=5)]
    out += [e / p for p in fragment(IP(src=WEB, dst=REMOTE, id=7) / UDP(sport=9, dport=9) / Raw(b'f' * 3000), 1000)]
    out += [e / IPv6(src='fd77::10', dst='fd77::99') / IPv6ExtHdrFragment(offset=100, nh=17) / Raw(b'6' * 80)]
    out += [Ether(src=MACS['web'], dst=MACS['remote'], type=0x88cc) / Raw(b'lldp' * 20)]
    return out


# --- everything, both directions, against tcpdump at the workload -------------------------------
SERVER = ('import http.server, socketserver; socketserver.TCPServer(("%s", 8080), '
          'http.server.SimpleHTTPRequestHandler).serve_forever()' % REMOTE)
http = subprocess.Popen(['ip', 'netns', 'exec', 'remote', '/usr/bin/python3', '-c', SERVER], cwd=WORK,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
with open(WORK + '/big', 'wb') as big:
    big.write(os.urandom(1 << 20))
sh(f'ip netns exec web ping -q -c 1 -W 30 {REMOTE}; ip netns exec web ping -q -c 1 -W 30 fd77::99')
everything = make_filter()
at_web, at_cap = Dump('web'), Dump('cap', 'udp', 'port', '4789')
s = make_session(everything, VirtualNetworkId=4711)
replay('web', write_pcap('odd', odd_traffic()), '--pps=500')
sh(f'ip netns exec web ping -q -c 20 -i 0.01 -s 1200 {REMOTE}')
sh('ip netns exec web ping -q -c 20 -i 0.01 -s 8000 fd77::99')
sh(f'ip netns exec web curl -s --retry 5 --retry-connrefused -o {WORK}/got http://{REMOTE}:8080/big && cmp {WORK}/got {WORK}/big')
delete(s)
sh(f'ip netns exec web ping -q -c 5 -i 0.01 {REMOTE}')
seen, outer = at_web.stop(), at_cap.stop()
c = counts(s)
wanted = sorted(d for t, d in stamped(at_web.path) if c['created_ns'] - 1000 <= t <= c['deleted_ns'] and not never(d))
got = sorted(inner(at_cap.path))
check(len(wanted) > 150, 'there is traffic of many kinds: %d frames' % len(wanted))
equal(len(got), c['mirrored'], 'the count of mirrored frames is what arrived')
check(got == wanted, 'decapsulated frames are exactly those at the workload, less what AWS never mirrors',
      '%d got, %d wanted; first surplus %s, first missing %s' % (
          len(got), len(wanted), [(len(x), x[:80].hex()) for x in sorted(set(got) - set(wanted))[:1]],
          [(len(x), x[:80].hex()) for x in sorted(set(wanted) - set(got))[:1]]))
equal([c['never_mirrored_by'][k] for k in ('metadata', 'ntp', 'windows_activation', 'amazon_dns', 'dhcp', 'not_ip')],
      [1, 1, 1, 3, 1, 1], 'each kind that is never mirrored is counted by its name')
check(c['never_mirrored_by']['arp'] >= 1, 'ARP is counted and not mirrored')
o = outer[0]
equal((o[0:6].hex(), o[14], o[18:20], o[20:22], o[22], o[23], o[26:30], o[30:34], o[36:38], o[40:42], o[42:50]),
      (MACS['cap'].replace(':', ''), 0x45, b'\0\0', b'\0\0', 255, 17, bytes((10, 0, 1, 10)), bytes((10, 0, 1, 20)),
       (4789).to_bytes(2, 'big'), b'\0\0', bytes((8, 0, 0, 0, 0, 4711 >> 8, 4711 & 255, 0))),
      'the outer headers are those of a real AWS mirror')
check(all(65408 <= int.from_bytes(f[34:36], 'big') <= 65525 for f in outer), 'outer source ports are 65408 to 65525')
by_flow = {}
for f in outer:
    i = f[50:]
    if i[12:14] == b'\x08\x00' and i[23] == 6:
        flow = frozenset(((i[26:30], i[34:36]), (i[30:34], i[36:38])))
        by_flow.setdefault(flow, set()).add(f[34:36])
check(by_flow and all(len(v) == 1 for v in by_flow.values()), 'both directions of a flow share one outer source port')
sums = subprocess.run(['tshark', '-r', at_cap.path, '-o', 'ip.check_checksum:TRUE', '-Y',
                       'ip.checksum.status == 0 and udp.port == 4789'], stdout=subprocess.PIPE,
                      stderr=subprocess.DEVNULL).stdout
equal(sums, b'', 'every outer IP checksum is right')

# --- amazon-dns -------------------------------------------------------------------------------
at_cap = Dump('cap', 'udp', 'port', '4789')
s = make_session(make_filter([], dns=True))
replay('web', WORK + '/odd.pcap', '--pps=2000')
delete(s)
at_cap.stop()
equal((len(inner(at_cap.path)), counts(s)['mirrored']), (3, 3),
      'with amazon-dns, and no rule at all, exactly the three frames to the resolver are mirrored')

# --- directions, rules, priorities ------------------------------------------------------------
at_cap = Dump('cap', 'udp', 'port', '4789')
s = make_session(make_filter([dict(direction='ingress', cidr='0.0.0.0/0')]))
sh(f'ip netns exec web ping -q -c 10 -i 0.01 {REMOTE}')
delete(s)
at_cap.stop()
got = inner(at_cap.path)
check(len([f for f in got if f[23] == 1 and f[34] == 0]) == 10 and all(f[0:6].hex() == '0a0000000001' for f in got),
      'an ingress-only filter yields the answers and not the questions', [f.hex() for f in got])
c = counts(s)
check(c['ingress']['frames'] == len(got) and c['egress']['frames'] == 0 and c['rejected'] >= 10,
      'and counts the rest as rejected', c)

at_cap = Dump('cap', 'udp', 'port', '4789')
first = make_session(make_filter([
    dict(direction='egress', number=10, action='reject', Protocol=17, DestinationPortRange={'FromPort': 7, 'ToPort': 7},
         cidr='0.0.0.0/0'),
    dict(direction='egress', number=20, Protocol=17, DestinationPortRange={'FromPort': 5, 'ToPort': 9}, src=WEB + '/32',
         dst='10.0.1.0/24'),
    dict(direction='egress', number=30, action='reject', cidr='0.0.0.0/0')]), 5, VirtualNetworkId=100)
second = make_session(make_filter([dict(direction='egress', cidr='0.0.0.0/0', Protocol=17)]), 9, VirtualNetworkId=200)
from scapy.layers.l2 import Ether  # noqa: E402
from scapy.layers.inet import IP, UDP, TCP  # noqa: E402
from scapy.packet import Raw  # noqa: E402
e = Ether(src=MACS['web'], dst=MACS['remote'])
replay('web', write_pcap('ports', [e / IP(src=WEB, dst=REMOTE) / UDP(sport=1, dport=p) / Raw(b'p' * 30) for p in range(1, 13)] +
                         [e / IP(src=WEB, dst=REMOTE) / TCP(sport=1, dport=8)]), '--pps=1000')
delete(first)
delete(second)
outer = at_cap.stop()
by_vni = {}
for f in outer:
    by_vni.setdefault(int.from_bytes(f[46:49], 'big'), []).append(int.from_bytes(f[50 + 36:50 + 38], 'big'))
equal(by_vni, {100: [5, 6, 8, 9], 200: [1, 2, 3, 4, 7, 10, 11, 12]},
      'rules hold by number, and each frame goes once, to the lowest session number that accepts it')
c = counts(second)
equal((c['taken_by_lower_number'], c['mirrored']), (4, 8), 'the second session counts what the first one took')
equal(counts(first)['mirrored'], 4, 'and the first one its own')

# --- what changes while frames pass -------------------------------------------------------------
f = make_filter([dict(direction='egress', cidr='0.0.0.0/0')])
s = make_session(f, VirtualNetworkId=1)
at_cap = Dump('cap', 'udp', 'port', '4789')
stream = subprocess.Popen(['ip', 'netns', 'exec', 'web', 'tcpreplay', '-q', '-i', 'eth0', '--pps=4000', '--loop=10000',
                           write_pcap('one', [e / IP(src=WEB, dst=REMOTE) / UDP(sport=1, dport=i) / Raw(b'c' * 100)
                                              for i in range(1, 41)])],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until_more_are_mirrored():
    before, end = sim.session_counters(s)['mirrored'], time.monotonic() + 60
    while sim.session_counters(s)['mirrored'] < before + 100 and time.monotonic() < end:
        time.sleep(0.02)


until_more_are_mirrored()
ec2.modify_traffic_mirror_session(TrafficMirrorSessionId=s, VirtualNetworkId=2)
until_more_are_mirrored()
delete(s)
after = time.time()
time.sleep(0.5)
stream.kill()
stream.wait()
outer = at_cap.stop()
vnis = [int.from_bytes(f[46:49], 'big') for f in outer]
check(vnis == sorted(vnis) and set(vnis) == {1, 2}, 'a changed VNI holds from one frame to the next')
equal(counts(s)['mirrored'], len(outer), 'a delete in mid-stream counts every frame that left')
last = max(t for t, _ in stamped(at_cap.path))
check(last < after * 1e9, 'no frame leaves after the answer to a delete')

# --- truncation ---------------------------------------------------------------------------------
at_cap = Dump('cap', 'udp', 'port', '4789')
s = make_session(f, PacketLength=100)
sh(f'ip netns exec web ping -q -c 5 -i 0.01 -s 1000 {REMOTE}')
delete(s)
at_cap.stop()
got = inner(at_cap.path)
equal((sorted({len(x) for x in got}), counts(s)['truncated']), ([100], 5), 'PacketLength counts octets of the inner frame')
sh('ip link set fab-cap mtu 1500 && ip -n cap link set eth0 mtu 1500')
sim.stop()
sim = Awsim(w)
ec2 = sim.client()
target = ec2.create_traffic_mirror_target(NetworkInterfaceId='eni-0a000000000000002')['TrafficMirrorTarget'][
    'TrafficMirrorTargetId']
at_cap = Dump('cap', 'udp', 'port', '4789')
f = make_filter([dict(direction='egress', cidr='0.0.0.0/0')])
s = make_session(f)
for size in (1417, 1418, 1419, 5000):
    sh(f'ip netns exec web ping -q -c 1 -s {size} {REMOTE}')
delete(s)
at_cap.stop()
got = inner(at_cap.path)
equal(([len(x) - 14 for x in got], counts(s)['truncated']), ([1445, 1446, 1446, 1446], 2),
      'a target with MTU 1500 gets 1446 octets of the inner packet')

# --- targets that packets do not reach --------------------------------------------------------------
for what, reason, change in (
        ('whose security group is closed', 'security_group', {'groups': ['sg-0a000000000000002']}),
        ('in another VPC without a route', 'no_route', {'subnet': 'subnet-0a000000000000009'}),
        ('without a port', 'no_port', {'port': ''})):
    far = copy.deepcopy(w)
    far['vpcs'].append({'id': 'vpc-0a000000000000009', 'cidr': '10.9.0.0/16'})
    far['subnets'].append({'id': 'subnet-0a000000000000009', 'vpc': 'vpc-0a000000000000009', 'cidr': '10.9.1.0/24'})
    far['enis'][1].update(change)
    sim.stop()
    sim = Awsim(far)
    ec2 = sim.client()
    target = ec2.create_traffic_mirror_target(NetworkInterfaceId='eni-0a000000000000002')['TrafficMirrorTarget'][
        'TrafficMirrorTargetId']
    s = make_session(make_filter([dict(direction='egress', cidr='0.0.0.0/0', Protocol=1)]))
    sh(f'ip netns exec web ping -q -c 3 -i 0.01 {REMOTE}')
    delete(s)
    c = counts(s)
    equal((c['undeliverable_by'][reason], c['mirrored'], c['egress']['frames']), (3, 0, 3),
          'a target %s gets nothing, and the count says why' % what)

# --- load ---------------------------------------------------------------------------------------
sh('ip link set fab-cap mtu 9001 && ip -n cap link set eth0 mtu 9001')
sim.stop()
sim = Awsim(w)
ec2 = sim.client()
target = ec2.create_traffic_mirror_target(NetworkInterfaceId='eni-0a000000000000002')['TrafficMirrorTarget'][
    'TrafficMirrorTargetId']
s = make_session(make_filter([dict(direction='egress', cidr='0.0.0.0/0')]))


def received():
    return json.loads(sh('ip -n cap -s -j link show eth0'))[0]['stats64']['rx']['packets']


path = write_pcap('load', [e / IP(src=WEB, dst=REMOTE) / UDP(sport=i, dport=9) / Raw(b'l' * 1358) for i in range(1, 501)])
http.kill()
before, start = received(), time.monotonic()
replay('web', path, '--topspeed', '--loop=80')  # (as many as awsim's ring holds, should the machine have no time for awsim)
took = time.monotonic() - start
delete(s)
c = counts(s)
equal((c['mirrored'], c['ring_drops'], c['mirrored_bytes']), (40000, 0, 40000 * 1400),
      'a burst of 40,000 frames of 1400 octets is mirrored without loss')
print('# %.0f frames/s were sent' % (40000 / took))
check(received() - before >= 40000, "all of them arrive at the target's interface")
dropped = [p for p in sim.control('/counters')['ports'] if p['port'] == 'fab-cap'][0]
equal(dropped['tx_dropped'], 0, "and none is lost between the fabric and the target's interface")
sim.stop()
finish()
