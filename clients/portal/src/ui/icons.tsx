/** Icons of 16 by 16, in the colour of the text. They accompany words. */

const icon = (path: string) =>
  function Icon() {
    return (
      <svg
        width="16"
        height="16"
        viewBox="0 0 16 16"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.5"
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
        focusable="false"
      >
        <path d={path} />
      </svg>
    );
  };

export const CheckIcon = icon('M3 8.5 6.5 12 13 4.5');
export const CrossIcon = icon('M4 4l8 8M12 4l-8 8');
export const WarnIcon = icon('M8 2.5 14.5 13.5h-13zM8 6.5v3.2M8 11.6v.1');
export const InfoIcon = icon('M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 7.3V11M8 5v.1');
export const CopyIcon = icon('M6 5.5V3h7v7h-2.5M3 6h7v7H3z');
export const SearchIcon = icon('M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.4 10.4 14 14');
export const MenuIcon = icon('M2.5 4h11M2.5 8h11M2.5 12h11');
export const MinusIcon = icon('M4 8h8');
export const ClockIcon = icon('M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 4.8V8l2.2 1.6');
export const OverviewIcon = icon('M2.5 2.5h4.5v6H2.5zM9 2.5h4.5v3.5H9zM9 8.5h4.5v5H9zM2.5 11h4.5v2.5H2.5z');
export const ControlsIcon = icon(
  'M8 1.8 13.5 4v4c0 3.2-2.3 5.4-5.5 6.2C4.8 13.4 2.5 11.200 2.500 8V4zM5.600 8l1.800 1.800 3.200-3.400',
);
export const FindingsIcon = icon('M3.500 2v12M3.500 3h8.500l-2 2.750 2 2.750H3.500');
export const ExceptionsIcon = icon('M4 1.800h5.500L12.500 5v9.200H4zM9.300 2v3.200h3M6.300 8.500h4M6.300 11h4');
export const PrivacyIcon = icon('M3.500 7h9v6.800h-9zM5.500 7V5a2.500 2.500 0 0 1 5 0v2M8 9.600v1.600');
export const BackfillsIcon = icon(
  'M2.500 2.500h3.500v11H2.500zM10 2.500h3.500v11H10zM6 8h4M8.500 6.500 10 8 8.500 9.500',
);
export const CachesIcon = icon(
  'M2.500 4.500h11v7h-11zM5 4.500V2.500M11 4.500V2.500M5 13.500v-2M11 13.500v-2M8.700 6 7 8.300h2L7.300 10.200',
);
export const IncidentsIcon = icon(
  'M8 1.800v2M3.500 11.500V9a4.500 4.500 0 0 1 9 0v2.500M2 13.500h12v-2H2zM2 4.500l1.300 1M14 4.500l-1.300 1',
);
export const VerifyIcon = icon('M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM5.300 8.200l2 2 3.500-4');
export const AuditIcon = icon(
  'M8 2v3M4 11V8.500h8V11M8 5v3.500M8 2.800a.8.8 0 1 0 0-.1M4 13.700a1.300 1.300 0 1 0 0-2.600 1.300 1.300 0 0 0 0 2.600zM12 13.700a1.300 1.300 0 1 0 0-2.600 1.300 1.300 0 0 0 0 2.600z',
);
export const StartIcon = icon('M3 3.500 6.500 7 3 10.500M8 11.500h5');
export const ChevronIcon = icon('M4.500 6.500 8 10l3.500-3.500');
