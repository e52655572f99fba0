/* SPDX-License-Identifier: GPL-2.0-only */
struct group {
	int opened;
	int count;
};
