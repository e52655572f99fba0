// SPDX-License-Identifier: Apache-2.0
#include <linux/mini.h>
#include <stdio.h>

int main(void)
{
	printf("1..1\nok 1 answer %d\n", MINI_ANSWER);
	return 0;
}
