#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# conf.sh KCONFIG REQUEST: prints a .config with what was asked for and exists.
# All but PCI depends on PCI; HIDDEN cannot be set; UNMET complains as conf does.
kconfig="$1 drivers/Kconfig"
on() { grep -q "^CONFIG_$1=[ym]" "$2"; }
sed -n 's/^config //p' $kconfig | while read -r name; do
	value=$(sed -n "s/^CONFIG_$name=//p" "$2")
	case $name in
	PCI) ;;
	HIDDEN) value= ;;
	*) on PCI "$2" || value= ;;
	esac
	case $value in
	'' | n) echo "# CONFIG_$name is not set" ;;
	*) echo "CONFIG_$name=$value" ;;
	esac
done
if test -e unmet; then
	printf '\nWARNING: unmet direct dependencies detected for EDU\n  Depends on [n]: PCI [=n]\n  Selected by [y]:\n  - NOIOMMU [=y]\n\n' >&2
fi
