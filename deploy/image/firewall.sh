#!/bin/sh
# Lays out nft and both kinds of iptables for an image that has nothing else:
# the programs by the names that the agent looks for, what they load, and
# Debian's record of it, which scanners read, with the licences.
#
#   deploy/image/firewall.sh FOLDER
set -eu
out=$1
mkdir -p "$out/usr/sbin" "$out/var/lib/dpkg/status.d"
for folder in lib lib64; do
	mkdir -p "$out/usr/$folder"
	ln -s "usr/$folder" "$out/$folder"
done

# A file under its own path, below /usr as all of Debian's are.
lay() {
	path=$1
	case $path in /usr/*) ;; *) path=/usr$path ;; esac
	[ -e "$out$path" ] && return
	mkdir -p "$out$(dirname "$path")"
	cp -L "$1" "$out$path"
	owner=$(dpkg -S "$path" 2>/dev/null || dpkg -S "${path#/usr}" 2>/dev/null || dpkg -S "$(readlink -f "$path")")
	owner=${owner%%:*}
	if [ ! -e "$out/var/lib/dpkg/status.d/$owner" ]; then
		dpkg-query -s "$owner" >"$out/var/lib/dpkg/status.d/$owner"
		mkdir -p "$out/usr/share/doc/$owner"
		cp -L "/usr/share/doc/$owner/copyright" "$out/usr/share/doc/$owner/"
	fi
}

lay /usr/sbin/nft
lay /usr/sbin/xtables-nft-multi
lay /usr/sbin/xtables-legacy-multi
for program in iptables ip6tables; do
	for action in save restore; do
		# Without a suffix it is what new nodes have.
		ln -s xtables-nft-multi "$out/usr/sbin/$program-$action"
		ln -s xtables-nft-multi "$out/usr/sbin/$program-nft-$action"
		ln -s xtables-legacy-multi "$out/usr/sbin/$program-legacy-$action"
	done
done
# All of them: iptables-save cannot print another's rule without its extension.
for extension in /usr/lib/*/xtables/libxt_*.so /usr/lib/*/xtables/libipt_*.so /usr/lib/*/xtables/libip6t_*.so; do
	lay "$extension"
done
ldd "$out"/usr/sbin/nft "$out"/usr/sbin/xtables-*-multi "$out"/usr/lib/*/xtables/*.so |
	grep -o '/[^ ]*\.so[^ ]*' | grep -v "^$out" | sort -u |
	while read -r library; do lay "$library"; done
