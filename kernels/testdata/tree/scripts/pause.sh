#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Stands still in the middle of the build if the tree has a file "pause" with
# the seconds.
test ! -e pause || exec sleep "$(cat pause)"
