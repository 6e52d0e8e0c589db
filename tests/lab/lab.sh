#!/bin/bash
# The lab's network: the hosts, their interfaces and the VPC between them.
# usage, inside tests/lab/enter: tests/lab/lab.sh up | down | world | exec HOST COMMAND...
#   up     make the hosts            down   take them away (leaving tests/lab/enter does that too)
#   world  print the same table as awsim wants it: accounts, VPC, instances, interfaces
# or source it and call lab_up, lab_exec HOST COMMAND..., lab_world.
#
# The namespace this runs in becomes the fabric: one bridge per subnet, and the VPC's router between
# them.  As in a VPC nothing is flooded: who has which address is told, not asked, so there is no ARP or
# neighbour discovery between the packets that the tests compare.

# host, interface, port on the fabric, network, MAC, IPv4, IPv6, MTU, interface id
LAB_INTERFACES='
workload  eth0 p-workload   a      02:4c:ab:00:01:10 10.77.1.10    2001:db8:77:1::10   9001 eni-0a1b2c3d4e5f60110
workload2 eth0 p-workload2  a      02:4c:ab:00:01:20 10.77.1.20    2001:db8:77:1::20   9001 eni-0a1b2c3d4e5f60120
workload2 eth1 p-workload2b c      02:4c:ab:00:03:20 10.77.3.20    2001:db8:77:3::20   9001 eni-0a1b2c3d4e5f60320
capture   eth0 p-capture    b      02:4c:ab:00:02:10 10.77.2.10    2001:db8:77:2::10   9001 eni-0a1b2c3d4e5f60210
cloud     eth0 p-cloud      cloud  02:4c:ab:00:00:05 10.77.0.5     2001:db8:77::5      9001 -
remote    eth0 p-remote     remote 02:4c:ab:64:00:10 198.51.100.10 2001:db8:51:100::10 1500 -
'
# network, the router's interface in it, its MAC, IPv4, IPv6, subnet id.  Every prefix is /24 and /64.
LAB_NETWORKS='
a      br-a     02:4c:ab:ff:00:01 10.77.1.1    2001:db8:77:1::1   subnet-0a1b2c3d4e5f6a001
b      br-b     02:4c:ab:ff:00:02 10.77.2.1    2001:db8:77:2::1   subnet-0a1b2c3d4e5f6b002
c      br-c     02:4c:ab:ff:00:03 10.77.3.1    2001:db8:77:3::1   subnet-0a1b2c3d4e5f6c003
cloud  p-cloud  02:4c:ab:ff:00:00 10.77.0.1    2001:db8:77::1     -
remote p-remote 02:4c:ab:ff:00:64 198.51.100.1 2001:db8:51:100::1 -
'
# host, instance id, instance type, what it is
LAB_INSTANCES='
workload  i-0a1b2c3d4e5f60010 m5.large  suspect
workload2 i-0a1b2c3d4e5f60020 c5.xlarge neighbour
capture   i-0a1b2c3d4e5f60030 m5.xlarge capture
'
# shellcheck disable=SC2034 # read by those who source this
{
    LAB_REGION=eu-central-1
    LAB_ACCOUNT=111122223333
    LAB_ACCESS_KEY=AKIALABTAPBOX0000001 # awsim's and radosgw's alike: AWS has one key for both, too
    LAB_SECRET_KEY=lab/not-a-secret/only-this-lab-knows+it
    LAB_EC2_URL=http://10.77.0.5:8480
    LAB_S3_LISTEN=10.77.0.5:7480
    LAB_S3_URL=http://$LAB_S3_LISTEN
    LAB_IMDS_URL=http://169.254.169.254
    LAB_BUCKET=tapbox-evidence
    LAB_CONTROL=/run/awsim.sock # awsim's; /run is the lab's own
}

lab_table() { # TABLE: its lines, without the empty ones
    grep . <<<"$1"
}

# The words behind NAME in a table, e.g. `lab_field "$LAB_INSTANCES" workload 2`.
lab_field() { # TABLE NAME COLUMN
    awk -v name="$2" -v column="$3" '$1 == name { print $column; exit }' <<<"$1"
}

lab_eni() { # HOST: the id of its first interface
    lab_field "$LAB_INTERFACES" "$1" 9
}

lab_instance() { # HOST
    lab_field "$LAB_INSTANCES" "$1" 2
}

lab_exec() { # HOST COMMAND...
    local host=$1
    shift
    nsenter --net="/run/netns/$host" -- "$@"
}

# In the background, with its output in a file; $lab_pid is the program's own process id.
lab_pid=
lab_start() { # HOST LOG COMMAND...
    local host=$1 log=$2
    shift 2
    nsenter --net="/run/netns/$host" -- "$@" >"$log" 2>&1 </dev/null &
    # shellcheck disable=SC2034 # for the caller
    lab_pid=$!
}

# Quiet and predictable: no link-local addresses to look for duplicates of, no router to ask for.
lab_sysctls() { # HOST forwards?
    # shellcheck disable=SC2016 # $1 is for the inner shell
    lab_exec "$1" sh -eu -c '
        cd /proc/sys/net
        for who in all default; do
            for off in rp_filter accept_redirects send_redirects; do echo 0 >ipv4/conf/$who/$off; done
            echo 1 >ipv6/conf/$who/addr_gen_mode
            echo 0 >ipv6/conf/$who/accept_ra
            echo 0 >ipv6/conf/$who/accept_dad
            echo 0 >ipv6/conf/$who/dad_transmits
            echo 0 >ipv6/conf/$who/router_solicitations
            echo 1 >ipv6/conf/$who/mldv1_unsolicited_report_interval
            echo 1 >ipv6/conf/$who/mldv2_unsolicited_report_interval
            echo 0 >ipv6/conf/$who/disable_ipv6
        done
        echo "$1" >ipv4/ip_forward
        echo "$1" >ipv6/conf/all/forwarding' sh "$2"
}

lab_fabric_commands() { # what `ip -batch` has to do in the fabric
    local host if port net mac mtu
    lab_table "$LAB_NETWORKS" | while read -r net if mac _; do
        case $if in br-*)
            echo "link add $if address $mac mtu 9001 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 vlan_default_pvid 0"
            ;;
        esac
    done
    lab_table "$LAB_INTERFACES" | while read -r host if port net mac _ _ mtu _; do
        echo "link add $port mtu $mtu type veth peer name $if netns $host address $mac mtu $mtu"
        case $net in
        cloud | remote) echo "link set $port address $(lab_field "$LAB_NETWORKS" "$net" 3)" ;;
        *) echo "link set $port master br-$net" ;;
        esac
    done
}

lab_fabric_addresses() {
    local if port net mac v4 v6
    lab_table "$LAB_NETWORKS" | while read -r _ if _ v4 v6 _; do
        echo "addr add $v4/24 dev $if"
        echo "addr add $v6/64 dev $if nodad"
        echo "link set $if up"
    done
    lab_table "$LAB_INTERFACES" | while read -r _ _ port net mac v4 v6 _; do
        echo "link set $port up"
        if=$(lab_field "$LAB_NETWORKS" "$net" 2)
        echo "neigh replace $v4 lladdr $mac dev $if nud permanent"
        echo "neigh replace $v6 lladdr $mac dev $if nud permanent"
    done
    echo "route add 169.254.169.254 via 10.77.0.5"
}

lab_host_commands() { # HOST
    local host if net v4 v6 gate gate_mac gate6 onet omac ov4 ov6
    echo "link set lo up"
    lab_table "$LAB_INTERFACES" | while read -r host if _ net _ v4 v6 _; do
        [ "$host" = "$1" ] || continue
        read -r _ _ gate_mac gate gate6 _ < <(grep "^$net " <<<"$LAB_NETWORKS")
        echo "addr add $v4/24 dev $if"
        echo "addr add $v6/64 dev $if nodad"
        echo "link set $if up"
        echo "neigh replace $gate lladdr $gate_mac dev $if nud permanent"
        echo "neigh replace $gate6 lladdr $gate_mac dev $if nud permanent"
        while read -r _ _ _ onet omac ov4 ov6 _; do
            if [ "$onet" != "$net" ] || [ "$ov4" = "$v4" ]; then continue; fi
            echo "neigh replace $ov4 lladdr $omac dev $if nud permanent"
            echo "neigh replace $ov6 lladdr $omac dev $if nud permanent"
        done < <(lab_table "$LAB_INTERFACES")
        if [ "$if" = eth0 ]; then
            # Jumbo frames end where the VPC ends.
            echo "route add 10.77.0.0/16 via $gate"
            echo "route add 2001:db8:77::/56 via $gate6"
            echo "route add default via $gate mtu 1500"
            echo "route add ::/0 via $gate6 mtu 1500"
        else # answers leave through the interface that was asked
            echo "rule add from $v4 lookup 100"
            echo "route add default via $gate dev $if table 100 mtu 1500"
            echo "route add ::/0 via $gate6 dev $if table 100 mtu 1500"
        fi
    done
    if [ "$1" = cloud ]; then
        echo "addr add 169.254.169.254/32 dev eth0"
    fi
}

lab_hosts() {
    lab_table "$LAB_INTERFACES" | awk '!seen[$1]++ { print $1 }'
}

lab_up() (
    set -eu
    if [ -z "${LAB_INSIDE-}" ]; then
        echo "lab.sh: start it with tests/lab/enter" >&2
        exit 1
    fi
    # The fabric gets a name as well, so that every host is reached the same way.
    touch /run/netns/fabric
    mount --bind /proc/self/ns/net /run/netns/fabric
    for host in $(lab_hosts); do
        ip netns add "$host"
        lab_sysctls "$host" 0
    done
    lab_sysctls fabric 1
    ip -batch - < <(lab_fabric_commands)
    while read -r host if port net mac _; do
        # A veth would otherwise carry 64 KB frames without checksums, as no network of AWS's does.
        for end in "fabric $port" "$host $if"; do
            # shellcheck disable=SC2086 # two words
            set -- $end
            lab_exec "$1" ethtool -K "$2" tso off gso off gro off sg off tx off rx off >/dev/null
        done
        case $net in
        cloud | remote) ;;
        *)
            echo 1 >"/proc/sys/net/ipv6/conf/$port/disable_ipv6"
            bridge link set dev "$port" learning off flood off mcast_flood off bcast_flood off
            bridge fdb replace "$mac" dev "$port" master static
            ;;
        esac
    done < <(lab_table "$LAB_INTERFACES")
    ip -batch - < <(lab_fabric_addresses)
    for host in $(lab_hosts); do
        ip -n "$host" -batch - < <(lab_host_commands "$host")
    done
    # (`ip -batch` has no way to say that a rule is an IPv6 one)
    while read -r host if _ _ _ _ v6 _; do
        [ "$if" = eth0 ] || ip -n "$host" -6 rule add from "$v6" lookup 100
    done < <(lab_table "$LAB_INTERFACES")
)

lab_down() (
    for host in $(lab_hosts); do
        ip netns del "$host" 2>/dev/null || true
    done
    for bridge in br-a br-b br-c; do
        ip link del "$bridge" 2>/dev/null || true
    done
    umount /run/netns/fabric 2>/dev/null || true
)

# The same table for awsim: who owns what, where it is plugged in, and whom the instances trust.
lab_world() {
    local vpc=vpc-0a1b2c3d4e5f67700 group=sg-0a1b2c3d4e5f6c0de open=sg-0a1b2c3d4e5f60bed
    jq -n --arg region "$LAB_REGION" --arg account "$LAB_ACCOUNT" --arg key "$LAB_ACCESS_KEY" \
        --arg secret "$LAB_SECRET_KEY" --arg control "$LAB_CONTROL" --arg vpc $vpc --arg group $group --arg open $open \
        --arg api "$LAB_EC2_URL" --arg interfaces "$LAB_INTERFACES" --arg networks "$LAB_NETWORKS" \
        --arg instances "$LAB_INSTANCES" '
        def table: split("\n") | map(select(. != "") | [splits(" +")]);
        ($networks | table | map({key: .[0], value: {port: .[1], mac: .[2], v4: .[3], v6: .[4], subnet: .[5]}})
            | from_entries) as $net
        | ($instances | table | map({key: .[0], value: .[1]}) | from_entries) as $instance
        | ($interfaces | table | map({host: .[0], interface: .[1], port: .[2], net: .[3], mac: .[4], v4: .[5],
              v6: .[6], mtu: (.[7] | tonumber), eni: .[8]})) as $ports
        | {
            region: $region,
            control: $control,
            router_mac: $net.b.mac,
            api: {listen: ($api | capture("//(?<a>[^:]+)").a), port: ($api | capture(":(?<p>[0-9]+)$").p | tonumber),
                netns: "/run/netns/cloud"},
            imds: {listen: "169.254.169.254", port: 80, netns: "/run/netns/cloud",
                clients: ($ports | map(select(.eni != "-") | {key: .v4, value: $instance[.host]}) | from_entries)},
            accounts: [{id: $account, role: "tapbox-capture-host", keys: [{access_key: $key, secret_key: $secret}]}],
            vpcs: [{id: $vpc, cidr: "10.77.0.0/16", ipv6_cidr: "2001:db8:77::/56", tags: {Name: "lab"}}],
            subnets: ["a", "b", "c"] | map({id: $net[.].subnet, vpc: $vpc, az: ($region + "a"),
                cidr: ($net[.].v4 | sub("[.]1$"; ".0/24")), ipv6_cidr: ($net[.].v6 | sub("::1$"; "::/64"))}),
            route_tables: [{id: "rtb-0a1b2c3d4e5f60001", vpc: $vpc, main: true, routes: [
                {cidr: "10.77.0.0/16", via: "local"}, {cidr: "2001:db8:77::/56", via: "local"},
                {cidr: "0.0.0.0/0", via: "igw-0a1b2c3d4e5f60001"}, {cidr: "::/0", via: "igw-0a1b2c3d4e5f60001"}]}],
            security_groups: [
                {id: $group, vpc: $vpc, name: "tapbox-capture", description: "mirrored traffic to the capture host",
                    ingress: [{protocol: "udp", from: 4789, to: 4789, cidr: "10.77.0.0/16"}],
                    egress: [{protocol: "-1", cidr: "0.0.0.0/0"}]},
                {id: $open, vpc: $vpc, name: "web", description: "what the workloads are for",
                    ingress: [{protocol: "-1", cidr: "0.0.0.0/0"}, {protocol: "-1", cidr: "::/0"}],
                    egress: [{protocol: "-1", cidr: "0.0.0.0/0"}, {protocol: "-1", cidr: "::/0"}]}],
            instances: ($instances | table | map(. as $row | {id: .[1], type: .[2],
                subnet: (first($ports[] | select(.host == $row[0])) | $net[.net].subnet),
                role: (if .[0] == "capture" then "tapbox-capture-host" else "" end),
                tags: {Name: .[0], purpose: .[3]}})),
            enis: ($ports | map(select(.eni != "-") | {id: .eni, mac, subnet: $net[.net].subnet, private_ips: [.v4],
                ipv6: [.v6], instance: $instance[.host],
                groups: [if .host == "capture" then $group else $open end],
                device_index: (.interface | ltrimstr("eth") | tonumber), port, mtu}))
        }'
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -eu
    case ${1-} in
    up) lab_up ;;
    down) lab_down ;;
    world) lab_world ;;
    exec)
        shift
        lab_exec "$@"
        ;;
    *)
        sed -n '2,6s/^# //p' "$0" >&2
        exit 2
        ;;
    esac
fi
