// SPDX-License-Identifier: GPL-2.0-only
#include "vfio.h"

int group_open(struct group *group)
{
	int ret = 0;

	if (group->opened)
		ret = -1;
	return ret;
}

void group_close(struct group *group)
{
	group->opened = 0;
}

int group_count(struct group *group)
{
	return group->count;
}
