// SPDX-License-Identifier: Apache-2.0
int noiommu(void)
{
#ifdef CONFIG_NOIOMMU
	return 1;
#else
	return 0;
#endif
}
