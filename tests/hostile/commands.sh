#!/bin/bash
# What a person would type who wants out. Says what did not come to nothing, and how many attempts there were.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
attempts=0 odd=0

# The command must fail; where it is not installed it does.
fails() {
    attempts=$((attempts + 1))
    if ( eval "$1" ) >/dev/null 2>&1 </dev/null; then
        odd=$((odd + 1))
        echo "it worked: $1"
    fi
}

fails 'unshare --user --map-root-user true'
fails 'unshare --net true'
fails 'unshare --mount true'
fails 'unshare --pid --fork true'
fails 'nsenter --target 1 --all true'
fails 'nsenter --target 1 --mount ls /'
fails 'chroot / true'
fails 'mount -t proc proc /tmp'
fails 'mount -o bind / /tmp'
fails 'mount -o remount,rw /'
fails 'umount /proc/kcore'
fails 'umount -l /usr'
fails 'bwrap --ro-bind / / true'
fails 'docker ps'
fails 'su -c true'
fails 'sudo -n true'
fails 'pkexec true'
fails 'newgrp root'
fails 'strace -f true'
fails 'gdb -p 1 -batch'
fails 'dmesg'
fails 'insmod /tmp/x.ko'
fails 'modprobe dummy'
fails 'sysctl -w kernel.core_pattern=x'
fails 'hostname somebody'
fails 'date -s 2000-01-01'
fails 'ping -c 1 127.0.0.1'
fails 'tcpdump -c 1 -i lo'
fails 'losetup -f /tmp/x'
fails 'fusermount -u /tmp'
fails 'swapon /tmp/x'
fails 'chrt -f 1 true'
fails 'nice -n -20 true && test "$(nice -n -20 nice)" -lt 0'
fails 'ulimit -c unlimited'
fails 'ulimit -n 10000000'
fails 'crontab -l'
fails 'at now </dev/null'
fails 'systemctl status'
fails 'systemd-run true'
fails 'loginctl'
fails 'machinectl list'
fails 'echo x >/proc/1/comm'
fails 'echo 0 >/proc/1/oom_score_adj'
fails 'echo -1000 >/proc/self/oom_score_adj'
fails 'kill -9 1; ! kill -0 1'
fails 'cat /proc/1/environ'
fails 'ls /proc/1/root/'
fails 'ls -d /proc/1/task/1/root/etc'
fails 'ls /proc/*/root/etc/shadow'
fails 'echo "|/tmp/x" >/proc/sys/kernel/core_pattern'
fails 'echo ":x:M::x::/tmp/x:" >/proc/sys/fs/binfmt_misc/register'
fails 'mkdir /sys/fs/cgroup/x'
fails 'echo 1 >/sys/fs/cgroup/notify_on_release'
fails 'test -n "$(find / -xdev \( -perm -4000 -o -perm -2000 \) -type f -exec {} --version \; 2>/dev/null | grep -i root)"'
fails 'curl --noproxy "*" -m 5 http://127.0.0.1:8080/'
fails 'NO_PROXY="*" curl -m 5 https://1.1.1.1:8443/'
fails 'exec 3<>/dev/tcp/10.0.0.1/22'
fails 'ssh -o ConnectTimeout=3 10.0.0.1 true'
fails 'test "$(cat /proc/self/attr/current 2>/dev/null | wc -c)" -gt 100000'
fails 'test -w /dev/kmsg'
fails 'mkfifo /usr/pipe'
fails 'ln -s /etc/shadow /etc/x'
fails 'mknod /tmp/null c 1 3'

echo "$attempts attempts, $odd came to something"
exit $((odd > 0))
