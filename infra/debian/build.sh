#!/bin/bash
# Make the Debian package BUILD/tapbox_VERSION_ARCH.deb.  usage: infra/debian/build.sh BUILD VERSION PROGRAM
set -euo pipefail
mkdir -p "$1"
build=$(realpath "$1") version=$2 program=$3
here=infra/debian
root=$build/deb/root
rm -rf "$build/deb"
mkdir -p "$root/DEBIAN" "$build/deb/shlibs/debian"

make --no-print-directory -s PROGRAM="$program" DESTDIR="$root" PREFIX=/usr install
strip --strip-unneeded "$root/usr/bin/tapbox"
gzip -9n "$root"/usr/share/man/man1/tapbox.1
mkdir -p "$root/usr/share/doc/tapbox"
cp README.md "$root/usr/share/doc/tapbox/"
cp -r runbooks "$root/usr/share/doc/tapbox/runbooks"

# dpkg-shlibdeps wants a source package around it.
printf 'Source: tapbox\n\nPackage: tapbox\nArchitecture: any\n' >"$build/deb/shlibs/debian/control"
depends=$(cd "$build/deb/shlibs" && dpkg-shlibdeps -O "$root/usr/bin/tapbox" |
    sed -n 's/^shlibs:Depends=//p')
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$(dpkg --print-architecture)/" \
    -e "s/@SIZE@/$(du -sk "$root" | cut -f1)/" -e "s/@DEPENDS@/$depends/" $here/control >"$root/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 755 $here/$script "$root/DEBIAN/$script"
done
(cd "$root" && find etc -type f | sed 's,^,/,') >"$root/DEBIAN/conffiles"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
dpkg-deb --root-owner-group --build "$root" "$build/tapbox_${version}_$(dpkg --print-architecture).deb" >/dev/null
echo "$build/tapbox_${version}_$(dpkg --print-architecture).deb"
