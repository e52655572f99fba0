// SPDX-License-Identifier: Apache-2.0
#include "mini.h"

int noiommu(void);

void _start(void)
{
	volatile int answer = MINI_ANSWER + noiommu();

	for (;;)
		answer++;
}
