#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes archive/: a Debian archive with one package of a small kernel, and the
# key that signed it. The secret key is thrown away: run this to make another.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pool=pool/main/l/linux dist=dists/trixie-backports
rm -rf archive && mkdir -p archive/$pool archive/$dist/main/binary-all archive/$dist/main/binary-amd64

mkdir -p "$work/deb/DEBIAN" "$work/deb/usr/src"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C ../../testdata \
	--transform 's,^tree,linux-source-7.3,' -cJf "$work/deb/usr/src/linux-source-7.3.tar.xz" tree
cat >"$work/deb/DEBIAN/control" <<END
Package: linux-source-7.3
Version: 7.3.99-1~test
Architecture: all
Maintainer: Nobody <nobody@example.invalid>
Description: a small kernel
END
deb=$pool/linux-source-7.3_7.3.99-1~test_all.deb
SOURCE_DATE_EPOCH=0 dpkg-deb --root-owner-group -b "$work/deb" "archive/$deb" >/dev/null

{
	cat "$work/deb/DEBIAN/control"
	echo "Filename: $deb"
	echo "Size: $(stat -c %s "archive/$deb")"
	echo "SHA256: $(sha256sum <"archive/$deb" | cut -d' ' -f1)"
} >archive/$dist/main/binary-amd64/Packages
{
	echo 'Origin: Test'
	echo 'Label: Test'
	echo 'Suite: trixie-backports'
	echo 'Codename: trixie-backports'
	echo 'Date: Wed, 01 Jan 2020 00:00:00 UTC'
	echo 'Architectures: all amd64 arm64'
	echo 'Components: main'
	echo 'SHA256:'
	for arch in amd64 arm64 all; do
		mkdir -p archive/$dist/main/binary-$arch
		[ $arch = amd64 ] || cp archive/$dist/main/binary-amd64/Packages archive/$dist/main/binary-$arch/Packages
		f=main/binary-$arch/Packages
		echo " $(sha256sum <archive/$dist/$f | cut -d' ' -f1) $(stat -c %s archive/$dist/$f) $f"
	done
} >"$work/Release"

# An old date: a machine whose clock is behind must not find it too new.
export GNUPGHOME="$work/gnupg"
mkdir -m 700 "$GNUPGHOME"
gpg --faked-system-time 20200101T000000 --batch --quiet --passphrase '' --quick-generate-key 'Test archive <nobody@example.invalid>' ed25519 sign never
gpg --faked-system-time 20200101T000001 --batch --quiet --clearsign -o archive/$dist/InRelease "$work/Release"
gpg --batch --quiet --export >archive/keyring.gpg
gpgconf --kill all
